"""Published Sentinel-2 L2A items → `Item`, one for each granule of an overpass."""

import contextlib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import shapely

from models.encoder.preprocessing import BANDS
from models.visible_text import visible_text
from pipeline.catalog.asset_offset import baseline_number, is_foreign
from pipeline.catalog.item import SCL, Item
from pipeline.catalog.item_assets import (
    ANY,
    Conventions,
    StacJson,
    band_asset,
    band_keys,
    item_name,
    naming_item,
)
from pipeline.catalog.item_geometry import footprint_of
from pipeline.errors import CatalogError, RegionError
from pipeline.grid.mgrs import Tile, parse_tile
from pipeline.io.times import parse_time

_LONGEST = 1000  # characters of a notice
_COVERED = 0.98  # share of a granule's footprint that newer products of the overpass must cover

_PRODUCT = re.compile(
    r"(?P<platform>S2[A-D])_MSIL2A_(?P<sensed>\d{8}T\d{6})_(?:N(?P<baseline>\d{4})_)?"
    r"R(?P<orbit>\d{3})_T(?P<tile>\d{2}[A-Z]{3})_(?P<generated>\d{8}T\d{6})"
)
_DATATAKE = re.compile(r"GS2[A-D]_(?P<sensed>\d{8}T\d{6})_(?P<orbit>\d{6})_N(?P<baseline>[\d.]+)")
_DATASTRIP = re.compile(r"_S(?P<sensed>\d{8}T\d{6})_N")
_TILE = re.compile(r"(?:^|_)T?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?:_|$)")
# Relative from absolute orbit numbers: both count up, 143 relative ones a cycle (Sentinel-2
# Products Specification; checked on published items).
_ORBIT_SHIFT = {"s2a": 2, "s2b": -27}


def normalise(stac_item: Mapping[str, Any], conventions: Conventions = ANY) -> Item:
    """The normal form of a published STAC item.

    Args:
        stac_item: The item, as JSON.
        conventions: Those of its catalogue.

    Raises:
        CatalogError: The item lacks a field, or one is malformed; the error names both.
    """
    with naming_item(stac_item):
        return _normal(stac_item, conventions)


def _normal(stac_item: StacJson, conventions: Conventions) -> Item:
    properties = stac_item["properties"]
    if not (name := str(stac_item.get("id") or "")):
        raise ValueError("it has no id")
    product = _PRODUCT.search(f"{properties.get('s2:product_uri') or ''} {name}")
    named = product.groupdict() if product else {}
    datatake = _id_parts(_DATATAKE, properties, "datatake_id")
    datastrip = _id_parts(_DATASTRIP, properties, "datastrip_id")
    tile = tile_of(stac_item)
    baseline = _baseline(properties, named.get("baseline"), datatake.get("baseline"))
    made_by = baseline
    if is_foreign(baseline):  # its numbers are those of the product from which it was made
        made_by = _baseline({}, datatake.get("baseline")) or baseline
    generated = _generation_time(properties, named.get("generated"))
    time = time_of(stac_item)
    day = (datatake.get("sensed") or named.get("sensed") or f"{time:%Y%m%d}")[:8]
    platform = _platform(properties, named.get("platform"))
    orbit = _orbit(properties, named.get("orbit"), platform, datatake.get("orbit"))
    keys = band_keys(stac_item["assets"], conventions.names)
    return Item(
        id=name,
        tile=tile.name,
        datetime=time,
        acquisition=f"{platform}-{orbit}-{day}",
        platform=platform,
        cloud_cover=cloud_cover_of(stac_item),
        baseline=baseline,
        generated=generated,
        epsg=tile.epsg,
        footprint=footprint_of(stac_item),
        assets={
            band: band_asset(stac_item, band, key, tile, made_by, generated, conventions.offset)
            for band, key in keys.items()
        },
        datastrip=datastrip.get("sensed", ""),
        attribution=visible_text(str(properties.get("attribution") or "").strip())[:_LONGEST],
    )


def _id_parts(pattern: re.Pattern[str], properties: StacJson, name: str) -> dict[str, str]:
    """The parts of an id that ESA gives, where the item has it."""
    text = properties.get(f"s2:{name}") or properties.get(f"eopf:{name}") or ""
    found = pattern.search(str(text))
    return found.groupdict() if found else {}


def tile_of(stac_item: StacJson) -> Tile:
    """The tile of an item, from grid:code, s2:mgrs_tile, mgrs:* or its id; raises CatalogError."""
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
        with contextlib.suppress(RegionError):
            return parse_tile(code)
    raise CatalogError(
        item_name(stac_item),
        "it names no MGRS tile (in grid:code, s2:mgrs_tile, mgrs:utm_zone …, or its id)",
        "Use a catalogue of Sentinel-2 L2A granules",
    )


def time_of(stac_item: StacJson) -> datetime:
    """The sensing time of an item, in UTC; raises CatalogError where it states none."""
    properties = stac_item["properties"]
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        return parse_time(text)
    except ValueError:
        raise CatalogError(
            item_name(stac_item), f"its datetime is {text!r:.100}", "Correct the catalogue"
        ) from None


def cloud_cover_of(stac_item: StacJson) -> float | None:
    """Percent of clouds in an item; None where it states none, or less than 0 (−1 for unknown).

    Raises CatalogError for what is no number.
    """
    stated = stac_item["properties"].get("eo:cloud_cover")
    if stated is None:
        return None
    with naming_item(stac_item):
        try:
            cover = float(stated)
        except (TypeError, ValueError, OverflowError):
            cover = math.nan
        if not math.isfinite(cover):
            raise ValueError(f"its eo:cloud_cover is {stated!r:.100}")
        return cover if cover >= 0 else None


def require_bands(
    items: Iterable[Item],
    bands: Sequence[str],
    substitute: Mapping[str, str] | None = None,
    optional: Sequence[str] = (),
) -> None:
    """Require that items offer every band and SCL; single items may lack a raster.

    As `require_offered` of all bands that some item offers.
    """
    require_offered({key for item in items for key in item.assets}, bands, substitute, optional)


def require_offered(
    offered: Collection[str],
    bands: Sequence[str],
    substitute: Mapping[str, str] | None = None,
    optional: Sequence[str] = (),
) -> None:
    """Require every band and SCL.

    Args:
        offered: The bands that some item offers, and SCL.
        bands: The bands.
        substitute: Absent band → band that stands for it.
        optional: Bands that may be absent, if nothing should stand for them.

    Raises:
        CatalogError: No item offers a band, nor the band that stands for it.
    """
    substitute = substitute or {}
    for band in (*bands, SCL):
        stand_in = substitute.get(band)
        if band in offered or stand_in in offered or (band in optional and not stand_in):
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
            "Use a checkpoint that does without it, or name the band that stands for it: "
            f'substitute = {{ {band} = "{near}" }} under [reading]',
        )


def resolve_duplicates(items: Iterable[Item]) -> list[Item]:
    """One product for each granule of an overpass, sorted by time and id.

    The products of one tile and acquisition are taken in the order of baseline and generation
    time, the newest first; those made outside ESA's chain (99.99) come last. One is left out if it
    is of the same granule as a newer one:
    - their datastrips began at the same second: the newer one is a reprocessed product; or
    - their baselines differ, or a datastrip is not stated, and newer ones cover its footprint
      (98 %).
    So both granules of an overpass that was split between datastrips are kept. They share their
    `acquisition`, so a pixel that lies in both counts once.
    """
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.tile, item.acquisition), []).append(item)
    kept: list[Item] = []
    for group in groups.values():
        newest: list[Item] = []
        for item in sorted(group, key=_age, reverse=True):
            if not _superseded(item, newest):
                newest.append(item)
        kept += newest
    return sorted(kept, key=lambda item: (item.datetime, item.id))


def _age(item: Item) -> tuple[tuple[int, int], str, str]:
    known = item.baseline and not is_foreign(item.baseline)
    baseline = baseline_number(item.baseline) if known else (-1, 0)
    return (baseline, item.generated, item.id)


def _superseded(item: Item, newer: Sequence[Item]) -> bool:
    if item.datastrip and any(item.datastrip == other.datastrip for other in newer):
        return True
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


def _baseline(properties: StacJson, *named: str | None) -> str:
    """The processing baseline as "05.09", or empty."""
    stated = (properties.get("s2:processing_baseline"), properties.get("processing:version"))
    for text in (*stated, *named):
        # Written as a number, 05.10 has become 5.1.
        found = re.fullmatch(r"N?(\d{1,2})(?:\.?(\d{2})|\.(\d))", str(text or ""))
        if found:
            return f"{int(found[1]):02d}.{found[2] or found[3] + '0'}"
    return ""


def _generation_time(properties: StacJson, named: str | None) -> str:
    """The product's generation time, ISO 8601 in UTC, or empty."""
    stated = (properties.get("s2:generation_time"), properties.get("processing:datetime"), named)
    for text in stated:
        if text:
            try:
                return parse_time(text).isoformat(timespec="milliseconds")
            except ValueError:
                raise ValueError(f"its generation time is {text!r}") from None
    return ""


def _platform(properties: StacJson, named: str | None) -> str:
    text = str(properties.get("platform") or named or "").lower()
    return f"s{found[1]}" if (found := re.search(r"(?:s|sentinel-)(2[a-d])", text)) else text


def _orbit(properties: StacJson, named: str | None, platform: str, absolute: str | None) -> str:
    """The relative orbit as "R078"; where only an absolute one is known, that as "A025815"."""
    stated = properties.get("sat:relative_orbit") or named
    if stated:
        try:
            number = int(stated)
        except (TypeError, ValueError, OverflowError):
            number = -1
        if not 0 <= number <= 999:
            raise ValueError(f"its sat:relative_orbit is {stated!r:.100}")
        return f"R{number:03d}"
    if absolute and platform in _ORBIT_SHIFT:
        return f"R{(int(absolute) + _ORBIT_SHIFT[platform]) % 143 + 1:03d}"
    return f"A{absolute}" if absolute else "R000"
