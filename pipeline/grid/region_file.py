"""The polygons of a vector file, united, in EPSG:4326."""

from pathlib import Path

import geopandas
import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from models.files.json_text import parse_json
from pipeline.errors import RegionError
from pipeline.grid.mgrs import polygons_of
from pipeline.io.tables import read_features

_FORMS = "Give polygons as GeoJSON, GeoPackage or GeoParquet"
_SEGMENTS = 256  # parts of a region's width into which edges are cut before they are reprojected


def read_polygons(path: Path) -> BaseGeometry:
    """All polygons of a GeoJSON, GeoPackage or GeoParquet file as one geometry, EPSG:4326.

    Third dimensions are dropped. Edges that are straight in the file's CRS stay so.

    Raises:
        RegionError: The file is unreadable, without CRS or empty, or has geometries that are not
            polygons or invalid.
    """
    frame = read_polygon_features(path)
    united = shapely.union_all(frame.geometry.to_numpy())
    left, bottom, right, top = united.bounds
    return in_degrees(united, frame.crs, path, max(right - left, top - bottom) / _SEGMENTS)


def read_polygon_features(path: Path) -> geopandas.GeoDataFrame:
    """The features of a file that have a geometry, all valid polygons in two dimensions.

    Raises as `read_polygons`.
    """
    nothing = RegionError(str(path), "the file holds no geometry", "Give at least one polygon")
    try:
        frame = read_features(path, RegionError, _FORMS)
    except RegionError:
        if _is_empty_collection(path):
            raise nothing from None
        raise
    flat = shapely.force_2d(frame.geometry.to_numpy())
    there = ~(shapely.is_missing(flat) | shapely.is_empty(flat))
    frame, geometries = frame[there].set_geometry(flat[there], crs=frame.crs), flat[there]
    if not len(geometries):
        raise nothing
    kinds = {geometry.geom_type for geometry in shapely.get_parts(geometries)}
    if kinds - {"Polygon"}:
        raise RegionError(
            str(path),
            f"it holds {', '.join(sorted(kinds - {'Polygon'}))}, and only polygons have an area",
            "Keep the polygons, or buffer the points and lines",
        )
    if frame.crs is None:
        raise RegionError(
            str(path), "the file states no CRS", "Set it, for instance with ogr2ogr -a_srs"
        )
    for geometry in geometries:
        if not np.isfinite(geometry.bounds).all():
            raise RegionError(str(path), "its coordinates are not finite numbers", "Correct them")
        if not geometry.is_valid:
            raise RegionError(
                str(path),
                f"a polygon is invalid: {_explained(geometry)}",
                "Mend it, for instance with QGIS's Fix geometries",
            )
    return frame


def _is_empty_collection(path: Path) -> bool:
    if path.suffix.lower() not in (".json", ".geojson"):
        return False
    try:
        return parse_json(path.read_text(encoding="utf-8")).get("features") == []
    except (ValueError, AttributeError):
        return False


def _explained(geometry: BaseGeometry) -> str:
    reason, _, place = shapely.is_valid_reason(geometry).partition("[")
    return f"{reason} at {place.rstrip(']').replace(' ', ', ')}" if place else reason


def in_degrees(geometry: BaseGeometry, crs: CRS, path: Path, chord: float) -> BaseGeometry:
    """A polygon of a file's CRS in EPSG:4326; edges are cut into chords of that length before.

    Raises RegionError where it crosses the antimeridian.
    """
    if crs.equals("EPSG:4326", ignore_axis_order=True):
        return geometry
    dense = shapely.segmentize(geometry, chord)
    degrees = geopandas.GeoSeries([dense], crs=crs).to_crs(4326).iloc[0]
    for ring in shapely.get_rings(shapely.get_parts(degrees)):
        if (np.abs(np.diff(shapely.get_coordinates(ring)[:, 0])) > 180).any():
            raise RegionError(
                str(path),
                "it crosses the antimeridian",
                "Cut it there, or give a bbox with west > east",
            )
    return polygons_of(shapely.make_valid(degrees))
