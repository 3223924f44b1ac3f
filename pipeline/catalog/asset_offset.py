"""The offset of a published raster's numbers, by what its item states of it."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.io.times import parse_time

StacFields = Mapping[str, Any]  # fields of a STAC item's properties or of an asset, as JSON

_OFFSET_BASELINE = (4, 0)  # processing baseline since which products carry RADIO_ADD_OFFSET −1000
_FOREIGN_BASELINE = (99, 0)  # and above: by Sen2Cor at home, sen2like and other tools
_OFFSET_SINCE = datetime(2022, 1, 25, tzinfo=UTC)  # the day from which ESA produced with it
_OFFSET = -1000
_QUANTIFICATION = 0.0001  # reflectance of one digital number
_LARGEST_OFFSET = 65_535


class Unstated(Exception):
    """An item does not state what must be known of a raster; the text says what."""


def asset_offset(properties: StacFields, asset: StacFields, baseline: str, generated: str) -> int:
    """The number to add to a stored number, by rule: never twice, never forgotten.

    1. `earthsearch:boa_offset_applied` is true: 0, though such items may still list −0.1.
    2. Baseline below 04.00: 0, since those products have none, even where one is listed.
    3. An offset in the raster extension: that, over its scale (−0.1 / 0.0001 = −1000).
    4. Baseline 04.00 and above: −1000 (Planetary Computer lists none and applies none). Not 99.00
       and above, which tools other than ESA's write: Unstated.
    5. No baseline: by generation date, −1000 since 25 January 2022. No date: Unstated.
    """
    if properties.get("earthsearch:boa_offset_applied") is True:
        return 0
    if baseline and baseline_number(baseline) < _OFFSET_BASELINE:
        return 0
    listed = _listed_offset(asset)
    if listed is not None:
        return listed
    if is_foreign(baseline):
        raise Unstated(
            f"its baseline {baseline} is not one of ESA's, and neither its datatake's baseline nor "
            "raster:bands says whether its numbers have an offset",
        )
    if baseline:
        return _OFFSET
    if generated:
        return _OFFSET if parse_time(generated) >= _OFFSET_SINCE else 0
    raise Unstated("it states neither baseline, raster offset nor generation time")


def _listed_offset(asset: StacFields) -> int | None:
    band = raster_band(asset)
    offset, scale = (_number(band.get(name), name) for name in ("offset", "scale"))
    if offset is None:
        return None
    if not scale:
        scale = _QUANTIFICATION if abs(offset) < 1 else 1.0
    if not abs(offset / scale) <= _LARGEST_OFFSET:
        raise ValueError(f"its raster offset {offset:g} over its scale {scale:g} is too large")
    return round(offset / scale)


def _number(stated: Any, name: str) -> float | None:
    """A number that an item states, also as text."""
    try:
        number = None if stated is None else float(stated)
    except (TypeError, ValueError):
        number = math.nan
    if number is not None and not math.isfinite(number):
        raise ValueError(f"its raster {name} is {stated!r}, which is no number")
    return number


def raster_band(asset: StacFields) -> dict[str, Any]:
    """Offset, scale and resolution in the raster extension's version 1, 2 or STAC 1.1's bands."""
    version_1 = (asset.get("raster:bands") or [None])[0] or {}
    stac_1_1 = (asset.get("bands") or [None])[0] or {}
    fields: dict[str, Any] = {}
    for stated, prefix in ((asset, "raster:"), (stac_1_1, "raster:"), (version_1, "")):
        for name in ("offset", "scale", "spatial_resolution"):
            if (value := stated.get(prefix + name)) is not None:
                fields[name] = value
    return fields


def is_foreign(baseline: str) -> bool:
    """Whether a product was made outside ESA's chain, which such tools say by 99.99."""
    return bool(baseline) and baseline_number(baseline) >= _FOREIGN_BASELINE


def baseline_number(baseline: str) -> tuple[int, int]:
    """A baseline "05.09" as numbers that can be compared: (5, 9)."""
    major, _, minor = baseline.partition(".")
    return int(major), int(minor)
