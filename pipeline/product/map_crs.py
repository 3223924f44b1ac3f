"""The CRS of a whole map: one that the user names, or the standard one for where the map lies."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from pipeline.errors import SettingsError
from pipeline.grid.cells import PIXEL
from pipeline.grid.footprint import joint_bbox

DEGREES_OF_PIXEL = 1 / 12_000
"""The pixel in a CRS of degrees, some 9 m at the equator: that of ESA WorldCover."""

_EUROPE = (-32.0, 32.0, 45.0, 82.0)  # degrees; EPSG:3035's area of use without Africa's deserts
_POLEWARD = 45.0  # degrees: EASE-Grid's global grid stretches shapes more and more from there on
_ACROSS, _DOWN = 129, 9  # places of a region at which a CRS is tried
_CUT = 20.0  # times the usual step between such places: the edge of a CRS lies between them


def named_crs(code: str) -> CRS:
    """The CRS of a code such as "EPSG:3035"; raises SettingsError where no map can be in it."""
    given = f"crs = {code}"
    if not re.fullmatch(r"[A-Za-z_]+[\w.]*:\w+", code):
        raise SettingsError(given, "this is no code of a CRS", "Give one such as EPSG:3035")
    try:
        crs = CRS.from_user_input(code)
    except CRSError:
        raise SettingsError(
            given, "PROJ knows no such CRS", "Give another code, such as EPSG:3035"
        ) from None
    remedy = "Give a projected CRS, or EPSG:4326 for degrees"
    if not (crs.is_projected or crs.is_geographic) or len(crs.axis_info) != 2:
        raise SettingsError(given, f"“{crs.name}” is no CRS of a map with two axes", remedy)
    if any(axis.direction == "west" for axis in crs.axis_info):
        raise SettingsError(given, f"the axes of “{crs.name}” point west and south", remedy)
    return crs


def crs_code(crs: CRS) -> str:
    """The authority's code of a CRS of this module: "EPSG:3035"."""
    return ":".join(crs.to_authority(min_confidence=20) or ("", crs.name)).lstrip(":")


def map_crs(items: Sequence[Mapping[str, Any]], code: str | None = None) -> CRS:
    """The CRS of the map of some cells: the one of `code`, or by rule.

    One UTM zone keeps its CRS. Several have an equal-area one, so that areas measured in the map
    are right: in Europe EPSG:3035; elsewhere one of EASE-Grid 2.0 (Brodzik et al. 2012), EPSG:6933,
    or EPSG:6931 and EPSG:6932 where the map's middle lies beyond 45° north or south, and there is
    nothing on the other half of the globe. EPSG:6933 is cut at the antimeridian: a map that crosses
    it has Equal Earth, EPSG:8859.

    Raises SettingsError where the map cannot be shown in the CRS of `code`.
    """
    bbox = joint_bbox([item["bbox"] for item in items])
    if code is not None:
        crs = named_crs(code)
        require_shown(crs, bbox)
        return crs
    codes = {str(item["properties"]["proj:code"]) for item in items}
    return CRS.from_user_input(codes.pop() if len(codes) == 1 else standard_code(bbox))


def standard_code(bbox: Sequence[float]) -> str:
    """The code of the CRS for a map of several UTM zones with a bbox in degrees (RFC 7946)."""
    west, south, east, north = bbox
    if _EUROPE[0] <= west <= east <= _EUROPE[2] and _EUROPE[1] <= south and north <= _EUROPE[3]:
        return "EPSG:3035"
    middle = (south + north) / 2
    if abs(middle) > _POLEWARD and south * north >= 0:
        return "EPSG:6931" if middle > 0 else "EPSG:6932"
    return "EPSG:8859" if west > east else "EPSG:6933"


def require_shown(crs: CRS, bbox: Sequence[float]) -> None:
    """Raise SettingsError where a CRS cannot show a region (degrees, RFC 7946) in one piece."""
    given, remedy = f"crs = {crs_code(crs)}", "Name another, or leave crs out"
    west, south, east, north = bbox
    east += 360.0 if west > east else 0.0
    if (area := crs.area_of_use) is not None:
        width = (area.east - area.west) % 360 or 360.0
        from_west = (west - area.west) % 360
        beside = from_west > width and from_west + (east - west) < 360.0
        if beside or south > area.north or north < area.south:
            raise SettingsError(
                given,
                f"“{crs.name}” is for {area.name.rstrip('.')}, and the map does not lie there",
                remedy,
            )
    longitude, latitude = np.meshgrid(
        np.linspace(west, east, _ACROSS), np.linspace(south, north, _DOWN)
    )
    to_map = Transformer.from_crs(4326, crs, always_xy=True)
    x, y = to_map.transform((longitude + 180) % 360 - 180, latitude)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SettingsError(given, f"“{crs.name}” does not reach all of the map", remedy)
    steps = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1))
    if (steps > _CUT * np.median(steps, axis=1, keepdims=True)).any():
        raise SettingsError(given, f"the edge of “{crs.name}” cuts the map in two", remedy)


def pixel_of(crs: CRS) -> float:
    """The side of a map's pixel in the unit of a CRS: 10 metres, or `DEGREES_OF_PIXEL`."""
    if crs.is_geographic:
        return DEGREES_OF_PIXEL
    return PIXEL / float(crs.axis_info[0].unit_conversion_factor)
