"""The page of a plan for people: its tiles on a map, and what each reads and costs; one file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from pipeline.costs.resources import Resources, hours_text, money_text, plain_number
from pipeline.grid.cells import PIXEL
from pipeline.io.html_page import html_page
from pipeline.mapping.plan import Plan
from pipeline.mapping.plan_geojson import TilePlan

_WIDTH, _HEIGHT = 960.0, 720.0  # units of the drawing
_MARGIN = 10.0
_STEP = 0.02  # degrees; an edge of a tile bends by less than a unit over so much
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class TileRow:
    """A tile on the page.

    Attributes:
        name: Its name.
        path: Its outline, the data of an SVG path.
        square_km: The area that is mapped.
        cells: The number of its cells.
        items: The number of its items.
        acquisitions: By month, January first.
        gigabytes: To be read.
        cores: Core hours.
        cost: Money, with its currency.
    """

    name: str
    path: str
    square_km: str
    cells: int
    items: int
    acquisitions: tuple[int, ...]
    gigabytes: str
    cores: str
    cost: str

    @property
    def gaps(self) -> int:
        """The number of months without an acquisition."""
        return self.acquisitions.count(0)

    @property
    def shade(self) -> str:
        """The class of its colour, by the months without an acquisition."""
        return next(name for most, name in ((0, "g0"), (2, "g1"), (5, "g2"), (12, "g3"))
                    if self.gaps <= most)  # fmt: skip

    @property
    def note(self) -> str:
        """What a pointer shows."""
        lacking = [month for month, n in zip(_MONTHS, self.acquisitions, strict=True) if not n]
        gaps = f"\nno acquisition in {', '.join(lacking)}" if lacking else ""
        return (
            f"{self.name}: {self.items} items, {self.cells} cells, {self.square_km} km²\n"
            f"{self.gigabytes} GB, {self.cores} core hours, {self.cost}{gaps}"
        )


def plan_page(plan: Plan, title: str) -> str:
    """The page of a plan: HTML with a drawing in it, without scripts, that loads nothing.

    The drawing is in Lambert's azimuthal equal-area projection around the region's middle.

    Args:
        plan: The plan.
        title: The page's heading.
    """
    outlines, height = _drawn([tile.tile.owned for tile in plan.tiles])
    taken = plan.by_tile or tuple(Resources() for _ in plan.tiles)
    rows = [_row(plan, *each) for each in zip(plan.tiles, outlines, taken, strict=True)]
    return html_page(
        "pipeline.mapping",
        "plan.html.j2",
        title=title,
        summary=plan.summary(),
        warnings=plan.warnings,
        rows=rows,
        months=_MONTHS,
        width=f"{_WIDTH:.0f}",
        height=f"{height:.0f}",
    )


def _row(plan: Plan, tile: TilePlan, path: str, taken: Resources) -> TileRow:
    return TileRow(
        name=tile.tile.name,
        path=path,
        square_km=plain_number(tile.pixels * PIXEL**2 / 1e6),
        cells=len(tile.cells),
        items=tile.items,
        acquisitions=tile.acquisitions,
        gigabytes=plain_number(tile.read.bytes / 1e9),
        cores=hours_text(taken.core_seconds),
        cost="" if plan.prices is None else money_text(taken.money(plan.prices), plan.prices),
    )


def _drawn(outlines: Sequence[BaseGeometry]) -> tuple[list[str], float]:
    """The data of an SVG path for each outline (EPSG:4326), and the drawing's height."""
    middles = shapely.get_coordinates(shapely.centroid(np.array(outlines, dtype=object)))
    lon, lat = np.radians(middles).T
    where = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]).mean(1)
    lat_0 = float(np.degrees(np.arctan2(where[2], np.hypot(where[0], where[1]))))
    lon_0 = float(np.degrees(np.arctan2(where[1], where[0])))
    plane = CRS.from_proj4(f"+proj=laea +lat_0={lat_0:.4f} +lon_0={lon_0:.4f}")
    to_plane = Transformer.from_crs("EPSG:4326", plane, always_xy=True)
    projected = [
        shapely.transform(
            shapely.segmentize(one, 10 * _STEP),
            lambda places: np.column_stack(to_plane.transform(*places.T)),
        )
        for one in outlines
    ]
    west, south, east, north = shapely.total_bounds(projected)
    scale = min(
        (_WIDTH - 2 * _MARGIN) / max(east - west, 1.0),
        (_HEIGHT - 2 * _MARGIN) / max(north - south, 1.0),
    )
    left = (_WIDTH - (east - west) * scale) / 2
    paths = [
        "".join(
            "M" + "L".join(
                f"{left + (x - west) * scale:.1f} {_MARGIN + (north - y) * scale:.1f}"
                for x, y in shapely.get_coordinates(part.exterior.simplify(0.5 / scale))
            ) + "Z"
            for part in shapely.get_parts(one)
        )
        for one in projected
    ]  # fmt: skip
    return paths, (north - south) * scale + 2 * _MARGIN
