"""Sentinel-2 L2A items as catalogues publish them → `Item`, one for each granule and overpass."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import shapely

from models.encoder.preprocessing import BANDS
from pipeline.catalog.item import SCL, Item
from pipeline.catalog.item_assets import (
    ANY,
    Conventions,
    Published,
    band_keys,
    baseline_number,
    raster,
    understood,
)
from pipeline.catalog.item_geometry import footprint_of
from pipeline.errors import CatalogError, RegionError
from pipeline.grid.mgrs import Tile, parse_tile

_COVERED = 0.98  # of a granule's footprint: what newer products of the overpass must cover

_PRODUCT = re.compile(
    r"(?P<platform>S2[A-D])_MSIL2A_(?P<sensed>\d{8}T\d{6})_(?:N(?P<baseline>\d{4})_)?"
    r"R(?P<orbit>\d{3})_T(?P<tile>\d{2}[A-Z]{3})_(?P<made>\d{8}T\d{6})"
)
_DATATAKE = re.compile(r"GS2[A-D]_(?P<sensed>\d{8}T\d{6})_(?P<orbit>\d{6})_N(?P<baseline>[\d.]+)")
_DATASTRIP = re.compile(r"_S(\d{8}T\d{6})_N")
_TILE = re.compile(r"(?:^|_)T?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?:_|$)")
# Relative from absolute orbit numbers: both count up, 143 relative ones a cycle (Sentinel-2
# Products Specification; checked on published items).
_ORBIT_SHIFT = {"s2a": 2, "s2b": -27}


def normalise(stac_item: Mapping[str, Any], conventions: Conventions = ANY) -> Item:
    """The normal form of a published STAC item; `conventions` are those of its catalogue.

    Raises CatalogError that names the item and what it lacks, or which of its fields is malformed.
    """
    with understood(stac_item):
        return _normal(stac_item, conventions)


def _normal(stac_item: Published, conventions: Conventions) -> Item:
    properties = stac_item["properties"]
    if not (name := str(stac_item.get("id") or "")):
        raise ValueError("it has no id")
    product = _PRODUCT.search(f"{properties.get('s2:product_uri') or ''} {name}")
    datatake = _DATATAKE.search(
        str(properties.get("s2:datatake_id") or properties.get("eopf:datatake_id") or "")
    )
    named = {**(product.groupdict() if product else {})}
    tile = tile_of(stac_item)
    baseline = _baseline(properties, named.get("baseline"), datatake and datatake["baseline"])
    made = _made(properties, named.get("made"))
    sensed = (datatake and datatake["sensed"]) or named.get("sensed")
    moment = moment_of(stac_item)
    platform = _platform(properties, named.get("platform"))
    orbit = _orbit(properties, named.get("orbit"), platform, datatake and datatake["orbit"])
    keys = band_keys(stac_item["assets"], conventions.names)
    datastrip = _DATASTRIP.search(
        str(properties.get("s2:datastrip_id") or properties.get("eopf:datastrip_id") or "")
    )
    return Item(
        id=name,
        tile=tile.name,
        datetime=moment,
        acquisition=f"{platform}-{orbit}-{(sensed or f'{moment:%Y%m%d}')[:8]}",
        platform=platform,
        cloud_cover=cloud_cover_of(stac_item),
        baseline=baseline,
        generated=made,
        epsg=tile.epsg,
        footprint=footprint_of(stac_item),
        assets={
            band: raster(stac_item, band, key, tile, baseline, made, conventions.offset)
            for band, key in keys.items()
        },
        datastrip=datastrip[1] if datastrip else "",
        attribution=" ".join(str(properties.get("attribution") or "").split()),
    )


def tile_of(stac_item: Published) -> Tile:
    """The tile of an item, by grid:code, s2:mgrs_tile, mgrs:* or its id; raises CatalogError."""
    properties = stac_item["properties"]
    codes = [
        str(properties.get("grid:code") or "").removeprefix("MGRS-"),
        str(properties.get("s2:mgrs_tile") or ""),
        "".join(
            str(properties.get(f"mgrs:{part}") or "")
            for part in ("utm_zone", "latitude_band", "grid_square")
        ),
        *_TILE.findall(str(stac_item.get("id"))),
    ]
    for code in codes:
        try:
            return parse_tile(code)
        except RegionError:
            continue
    raise CatalogError(
        f"item {stac_item.get('id')}",
        "it names no MGRS tile (grid:code, s2:mgrs_tile, mgrs:utm_zone …, or in its id)",
        "Use a catalogue of Sentinel-2 L2A granules",
    )


def moment_of(stac_item: Published) -> datetime:
    """When an item was sensed, UTC; raises CatalogError where it does not say."""
    properties = stac_item["properties"]
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        moment = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
    except ValueError:
        raise CatalogError(
            f"item {stac_item.get('id')}", f"its datetime is {text!r}", "Correct the catalogue"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def cloud_cover_of(stac_item: Published) -> float | None:
    """Percent of an item that is clouded; None where it does not say. Raises CatalogError."""
    stated = stac_item["properties"].get("eo:cloud_cover")
    if stated is None:
        return None
    with understood(stac_item):
        try:
            cover = float(stated)
        except (TypeError, ValueError):
            cover = math.nan
        if not math.isfinite(cover):
            raise ValueError(f"its eo:cloud_cover is {stated!r}")
        return cover


def require_bands(
    items: Sequence[Item], bands: Sequence[str], substitute: Mapping[str, str] | None = None
) -> None:
    """Check that items offer every band and SCL, or the band that is to stand for an absent one.

    `substitute` is absent band → standing-in band. Single items that lack a raster pass: they
    are observations without a value. Raises CatalogError that names what is absent everywhere.
    """
    substitute = substitute or {}
    offered = {key for item in items for key in item.assets}
    for band in (*bands, SCL):
        stand_in = substitute.get(band)
        if band in offered or stand_in in offered:
            continue
        near = next((b for b in ("B08", *BANDS) if b in offered), "B08")
        found = ", ".join(sorted(offered)) or "none"
        if band == SCL:
            raise CatalogError(
                "SCL", f"no item has a scene classification (found: {found})", "Use L2A items"
            )
        raise CatalogError(
            f"band {band}" + (f" (to be replaced by {stand_in})" if stand_in else ""),
            f"no item of the catalogue offers it (found: {found})",
            f'Use a checkpoint without it, or say what stands for it: substitute = {{ {band} = "'
            f'{near}" }} under [reading]',
        )


def resolve_duplicates(items: Iterable[Item]) -> list[Item]:
    """One product for each granule of an overpass, sorted by time and id.

    Products of one tile and acquisition are looked at from the newest baseline and generation
    time on. One is left out if it is of the same granule as one that is kept:
    - their datastrips began at the same second: a reprocessed product; or
    - baselines differ, or a datastrip is not stated, and those kept cover its footprint (98 %).
    The two granules of an overpass that was split between datastrips are thus both kept; their
    common `acquisition` keeps a pixel that lies in both from counting twice.
    """
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.tile, item.acquisition), []).append(item)
    kept: list[Item] = []
    for group in groups.values():
        newest: list[Item] = []
        for item in sorted(group, key=_age, reverse=True):
            if not any(_reprocessed(item, other) for other in newest) and not _superseded(
                item, newest
            ):
                newest.append(item)
        kept += newest
    return sorted(kept, key=lambda item: (item.datetime, item.id))


def _age(item: Item) -> tuple[tuple[int, int], str, str]:
    baseline = baseline_number(item.baseline) if item.baseline else (-1, 0)
    return (baseline, item.generated, item.id)


def _reprocessed(item: Item, newer: Item) -> bool:
    return bool(item.datastrip) and item.datastrip == newer.datastrip


def _superseded(item: Item, newer: Sequence[Item]) -> bool:
    rivals = [
        other
        for other in newer
        if item.baseline != other.baseline or not (item.datastrip and other.datastrip)
    ]
    if not rivals:
        return False
    footprints = [other.footprint for other in rivals]
    if item.footprint is None or any(other is None for other in footprints):
        return True
    common = item.footprint.intersection(shapely.union_all(footprints)).area
    return bool(common >= _COVERED * item.footprint.area)


def _baseline(properties: Published, *named: str | None) -> str:
    """The processing baseline as "05.09", or empty."""
    stated = (properties.get("s2:processing_baseline"), properties.get("processing:version"))
    for text in (*stated, *named):
        # Written as a number, 05.10 has become 5.1.
        found = re.fullmatch(r"N?(\d{1,2})(?:\.?(\d{2})|\.(\d))", str(text or ""))
        if found:
            return f"{int(found[1]):02d}.{found[2] or found[3] + '0'}"
    return ""


def _made(properties: Published, named: str | None) -> str:
    """When the product was generated, ISO 8601 in UTC, or empty."""
    stated = (properties.get("s2:generation_time"), properties.get("processing:datetime"), named)
    for text in stated:
        if text:
            try:
                moment = text if isinstance(text, datetime) else datetime.fromisoformat(str(text))
            except ValueError:
                raise ValueError(f"its generation time is {text!r}") from None
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return ""


def _platform(properties: Published, named: str | None) -> str:
    text = str(properties.get("platform") or named or "").lower()
    return f"s{found[1]}" if (found := re.search(r"(?:s|sentinel-)(2[a-d])", text)) else text


def _orbit(properties: Published, named: str | None, platform: str, absolute: str | None) -> str:
    """The relative orbit as "R078"; where only an absolute one is known, that as "A025815"."""
    stated = properties.get("sat:relative_orbit") or named
    if stated:
        try:
            return f"R{int(stated):03d}"
        except (TypeError, ValueError):
            raise ValueError(f"its sat:relative_orbit is {stated!r}") from None
    if absolute and platform in _ORBIT_SHIFT:
        return f"R{(int(absolute) + _ORBIT_SHIFT[platform]) % 143 + 1:03d}"
    return f"A{absolute}" if absolute else "R000"
