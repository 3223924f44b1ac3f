"""Mosaics of a run: VRTs over the cells' rasters, written from the cells' STAC items alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from affine import Affine
from pyproj import CRS, Transformer
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import LambertAzimuthalEqualAreaConversion

from models.vocabulary.vocabulary import Vocabulary
from pipeline.grid.cells import PIXEL
from pipeline.grid.footprint import joint_bbox
from pipeline.io.store import Store
from pipeline.layout import cell_key, mosaic_part_key
from pipeline.product.cell_report import PREFIX
from pipeline.product.layers import CELL_LAYERS, OutputLayer
from pipeline.product.manifest import RunManifest
from pipeline.product.vrt import Band, Frame, VrtSource, mosaic_vrt, warped_vrt
from pipeline.product.zone_seams import Seam, seams_between


@dataclass(frozen=True)
class _Zone:
    """The cells of one CRS: keys and frames of their rasters, and their bboxes in degrees."""

    epsg: int
    crs: CRS
    cells: list[tuple[str, Frame]]
    bboxes: list[Sequence[float]]

    @property
    def frame(self) -> Frame:
        return _around([frame for _, frame in self.cells])


def write_mosaics(
    store: Store, run: RunManifest, items: Sequence[Mapping[str, Any]], vocabulary: Vocabulary
) -> None:
    """Write a VRT over the finished cells' rasters for each layer that has a mosaic."""
    for layer in CELL_LAYERS:
        if layer.mosaic and layer.written(run):
            write_mosaic(store, run, items, layer, vocabulary)


def write_mosaic(
    store: Store,
    run: RunManifest,
    items: Sequence[Mapping[str, Any]],
    layer: OutputLayer,
    vocabulary: Vocabulary | None = None,
) -> None:
    """Write the VRT of a layer over the rasters in the folders of some cells.

    In one UTM zone the mosaic has that zone's pixels. With several zones, each zone's mosaic
    (in `mosaic/`) is warped (nearest) into the CRS of `mosaic_crs`, on a grid of 10 m, and gaps
    between zones are closed (`pipeline.product.zone_seams`). No raster is opened. Paths are
    relative: the folder can be moved, and on s3:// GDAL finds all sources in `/vsis3/`.

    Args:
        store: The folder that holds the cells' folders.
        run: The run, for its notice and fingerprint.
        items: The cells' STAC items.
        layer: The raster.
        vocabulary: Its classes, where the layer is of classes.
    """
    if not items:
        return
    crs = mosaic_crs(items)
    tags = {"TIFFTAG_COPYRIGHT": run.attribution, "TIMESEN_FINGERPRINT": run.fingerprint}
    band = _band(layer, run, vocabulary)
    zones = _zones(items, layer.file)
    if len(zones) == 1:
        zone = zones[0]
        sources = [VrtSource(name, frame) for name, frame in zone.cells]
        store.write(layer.mosaic_file, mosaic_vrt(zone.crs, zone.frame, band, sources, tags))
        return
    seams = seams_between({zone.epsg: zone.bboxes for zone in zones}, crs)
    beneath, parts = [], []
    for zone in zones:
        inner = mosaic_part_key(layer.file.removesuffix(".tif"), f"epsg{zone.epsg}")
        sources = [VrtSource(f"../{name}", frame) for name, frame in zone.cells]
        store.write(inner, mosaic_vrt(zone.crs, zone.frame, band, sources, tags))
        parts.append(_write_warped(store, inner, zone, crs, band))
        for seam in seams:
            if seam.epsg == zone.epsg:
                beneath += _write_seam(store, inner, zone, crs, band, seam)
    whole = _around([part.frame for part in parts])
    store.write(layer.mosaic_file, mosaic_vrt(crs, whole, band, [*beneath, *parts], tags))


def _band(layer: OutputLayer, run: RunManifest, vocabulary: Vocabulary | None) -> Band:
    legend = vocabulary.legend if vocabulary and layer.style == "classes" else ()
    dtype = vocabulary.dtype.name if vocabulary and layer.dtype == "classes" else layer.dtype
    colours = {entry.value: entry.colour for entry in legend} if dtype == "uint8" else {}
    names = {entry.value: entry.name for entry in legend}
    nodata = layer.nodata if layer.nodata is not None else 0
    return Band(dtype, nodata, layer.band_titles(run)[0], colours, names)


def mosaic_crs(items: Sequence[Mapping[str, Any]]) -> CRS:
    """The CRS of the mosaic of some cells.

    One UTM zone keeps its CRS. Several have an equal-area one, so that areas measured in the
    mosaic are right: Lambert's azimuthal projection centred on the region (to whole degrees); in
    Europe (25° W – 45° E, 32° – 72° N), beyond 12° of longitude, its standard, EPSG:3035; beyond
    120° of longitude or 100° of latitude EASE-Grid 2.0, EPSG:6933.
    """
    codes = {str(item["properties"]["proj:code"]) for item in items}
    if len(codes) == 1:
        return CRS.from_user_input(codes.pop())
    west, south, east, north = joint_bbox([item["bbox"] for item in items])
    width = (east - west) % 360 or 360.0
    if width > 120 or north - south > 100:
        return CRS.from_epsg(6933)
    if width > 12 and -25 <= west <= east <= 45 and south >= 32 and north <= 72:
        return CRS.from_epsg(3035)
    lon = round((west + width / 2 + 180) % 360 - 180)
    lat = round((south + north) / 2)
    conversion = LambertAzimuthalEqualAreaConversion(lat, lon)
    name = f"LAEA at {abs(lat)}{'NS'[lat < 0]} {abs(lon)}{'EW'[lon < 0]}"
    return ProjectedCRS(conversion, name=name, geodetic_crs="EPSG:4326")


def _zones(items: Sequence[Mapping[str, Any]], raster: str) -> list[_Zone]:
    zones: dict[int, _Zone] = {}
    for item in items:
        properties = item["properties"]
        epsg = int(properties["proj:code"].removeprefix("EPSG:"))
        rows, columns = properties["proj:shape"]
        frame = Frame(Affine(*properties["proj:transform"][:6]), rows, columns)
        key = cell_key(properties[f"{PREFIX}tile"], item["id"], raster)
        zone = zones.setdefault(epsg, _Zone(epsg, CRS.from_epsg(epsg), [], []))
        zone.cells.append((key, frame))
        zone.bboxes.append(item["bbox"])
    return [zones[epsg] for epsg in sorted(zones)]


def _around(frames: Sequence[Frame]) -> Frame:
    """The smallest frame around frames of one pixel grid."""
    edges = [frame.bounds for frame in frames]
    return _frame(
        min(e[0] for e in edges),
        min(e[1] for e in edges),
        max(e[2] for e in edges),
        max(e[3] for e in edges),
    )


def _write_warped(store: Store, inner: str, zone: _Zone, crs: CRS, band: Band) -> VrtSource:
    """Write the VRT that warps a zone's mosaic `inner` into another CRS."""
    transformer = Transformer.from_crs(zone.crs, crs, always_xy=True)
    frame = _snapped(transformer.transform_bounds(*zone.frame.bounds, densify_pts=64))
    key, name = _beside(inner, "warped")
    store.write(key, warped_vrt(name, zone.crs, zone.frame, crs, frame, band))
    return VrtSource(key, frame)


def _write_seam(
    store: Store, inner: str, zone: _Zone, crs: CRS, band: Band, seam: Seam
) -> list[VrtSource]:
    """Write the VRT that shows a zone's last pixels, of its mosaic `inner`, beyond the border."""
    windows = [_snapped(bounds) for bounds in seam.windows]
    frame = _around(windows)
    key, name = _beside(inner, seam.side)
    text = warped_vrt(
        name, zone.crs, zone.frame, crs, frame, band, within=seam.ribbon, step=seam.step
    )
    store.write(key, text)
    return [VrtSource(key, frame, window) for window in windows]


def _beside(inner: str, suffix: str) -> tuple[str, str]:
    """The key of a raster made from a zone's mosaic, and the mosaic's name seen from there."""
    return f"{inner.removesuffix('.vrt')}-{suffix}.vrt", inner.rpartition("/")[2]


def _snapped(bounds: Sequence[float]) -> Frame:
    """The frame around bounds, on whole multiples of the pixel."""
    left, bottom = (math.floor(edge / PIXEL) * PIXEL for edge in bounds[:2])
    right, top = (math.ceil(edge / PIXEL) * PIXEL for edge in bounds[2:])
    return _frame(left, bottom, right, top)


def _frame(left: float, bottom: float, right: float, top: float) -> Frame:
    rows, columns = round((top - bottom) / PIXEL), round((right - left) / PIXEL)
    return Frame(Affine(PIXEL, 0, left, 0, -PIXEL, top), rows, columns)
