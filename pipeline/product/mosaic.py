"""Mosaics of a run: VRTs over the cells' rasters, written from the cells' STAC items alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS, Transformer

from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import RegionError
from pipeline.io.store import Store
from pipeline.layout import MOSAIC_PARTS, cell_key, mosaic_part_key
from pipeline.product.cell_report import PREFIX
from pipeline.product.layers import CELL_LAYERS, OutputLayer
from pipeline.product.manifest import RunManifest
from pipeline.product.map_crs import map_crs, pixel_of
from pipeline.product.map_grid import PixelGrid
from pipeline.product.tile_index import IndexedRaster, index_key, tile_index
from pipeline.product.vrt import Band, Frame, VrtSource, mosaic_vrt, warped_vrt
from pipeline.product.zone_seams import Seam, seams_between

_INTERPRETED = {"red": "Red", "green": "Green", "blue": "Blue"}


@dataclass(frozen=True)
class _Zone:
    """The cells of one CRS: keys and frames of their rasters, and their bboxes in degrees."""

    epsg: int
    crs: CRS
    cells: list[tuple[str, Frame]]
    bboxes: list[Sequence[float]]

    @property
    def frame(self) -> Frame:
        return frame_around([frame for _, frame in self.cells])


def write_mosaics(
    store: Store,
    run: RunManifest,
    items: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    crs: str | None = None,
) -> None:
    """Write a VRT over the finished cells' rasters for each layer that has a mosaic.

    `crs` is the code of its CRS; by default it is by rule (`pipeline.product.map_crs.map_crs`).
    """
    for layer in CELL_LAYERS:
        if layer.mosaic and layer.written(run):
            write_mosaic(store, run, items, layer, vocabulary, crs)


def write_mosaic(
    store: Store,
    run: RunManifest,
    items: Sequence[Mapping[str, Any]],
    layer: OutputLayer,
    vocabulary: Vocabulary | None = None,
    crs: str | None = None,
) -> None:
    """Write the VRT and the indexes of a layer over the rasters in the folders of some cells.

    No raster is opened. Paths are relative: the folder can be moved, and on s3:// GDAL finds all
    sources in `/vsis3/`. Parts that an earlier mosaic left, in another CRS, are removed.

    Args:
        store: The folder that holds the cells' folders.
        run: The run, for its notice and fingerprint.
        items: The cells' STAC items.
        layer: The raster.
        vocabulary: Its classes, where the layer is of classes.
        crs: The code of the mosaic's CRS; by default it is by rule.

    Raises:
        SettingsError: The cells cannot be shown in that CRS.
    """
    if not (shown := cells_with(layer, items)):
        return
    mosaic = Mosaic(run, layer, vocabulary, map_crs(items, crs))
    files, indexes = mosaic.files(shown), mosaic.indexes(shown)
    for key, content in (*files.items(), *indexes.items()):
        store.write(key, content)
    parts = mosaic_part_key(layer.stem, "epsg").removesuffix(".vrt")
    for key in store.keys(MOSAIC_PARTS):
        if key not in files and key.startswith(parts):
            store.remove(key)
            epsg = key.removeprefix(parts).removesuffix(".vrt")
            if epsg.isdecimal() and (gone := index_key(layer.stem, int(epsg))) not in indexes:
                store.remove(gone)


@dataclass(frozen=True)
class Mosaic:
    """The mosaic of a layer of a run in a CRS: VRTs, the last of which shows the others.

    In the CRS of its only UTM zone it has that zone's pixels. Else each zone's mosaic (in
    `mosaic/`) is warped (nearest) into the CRS, on a grid of `pixel`, and gaps between zones are
    closed (`pipeline.product.zone_seams`).

    Attributes:
        run: The run.
        layer: Its layer.
        vocabulary: Its classes, where the layer is of classes.
        crs: The CRS.
        cells: The path that leads to the folder of the cells' folders, with "/" at the end; by
            default that of the mosaic itself.
        within: The part that is shown, in degrees (RFC 7946); by default all.
        grid: Its pixels; by default those of the map, `pipeline.product.map_crs.pixel_of`.
    """

    run: RunManifest
    layer: OutputLayer
    vocabulary: Vocabulary | None
    crs: CRS
    cells: str | None = None
    within: Sequence[float] | None = None
    grid: PixelGrid | None = None

    def frame(self, items: Sequence[Mapping[str, Any]]) -> Frame:
        """The pixel grid of the whole mosaic of the cells with these STAC items."""
        return self._frame_of(_zones(items, self.layer.file))

    def files(self, items: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
        """The files of the mosaic by key, of the cells with these STAC items.

        Raises RegionError where the part that is to be shown holds nothing of them.
        """
        return self.framed_files(items)[1]

    def framed_files(self, items: Sequence[Mapping[str, Any]]) -> tuple[Frame, dict[str, bytes]]:
        """The frame of the mosaic, and `files`."""
        zones = _zones(items, self.layer.file)
        frame = self._shown(self._frame_of(zones))
        if self._is_of_zone(zones):
            return frame, {self.layer.mosaic_file: self.over(frame, self._sources(zones[0], ""))}
        files: dict[str, bytes] = {}
        seams = seams_between({zone.epsg: zone.bboxes for zone in zones}, self.crs)
        beneath, parts = [], []
        for zone in zones:
            inner = mosaic_part_key(self.layer.stem, f"epsg{zone.epsg}")
            sources = self._sources(zone, "../")
            files[inner] = mosaic_vrt(zone.crs, zone.frame, self.bands, sources, self.tags)
            parts.append(self._warped(files, inner, zone))
            for seam in seams:
                if seam.epsg == zone.epsg:
                    beneath += self._seam(files, inner, zone, seam)
        return frame, files | {self.layer.mosaic_file: self.over(frame, [*beneath, *parts])}

    def _is_of_zone(self, zones: Sequence[_Zone]) -> bool:
        """Whether its pixels are those of its only zone."""
        return len(zones) == 1 and zones[0].crs == self.crs and self._pixel == pixel_of(self.crs)

    def _frame_of(self, zones: Sequence[_Zone]) -> Frame:
        if self._is_of_zone(zones):
            return zones[0].frame
        return frame_around([self._warped_frame(zone) for zone in zones])

    def indexes(self, items: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
        """The indexes of the rasters of cells with these STAC items by key, one for each zone.

        There is none of rasters with larger pixels than the mosaic: some lie beside its grid.
        """
        found: dict[str, bytes] = {}
        if self.layer.step is not None:
            return found
        for zone in _zones(items, self.layer.file):
            rasters = [
                IndexedRaster(source.path, source.path.split("/")[-2], source.frame)
                for source in self._sources(zone, "")
            ]
            index = tile_index(zone.epsg, zone.frame, self.bands, rasters, self.tags)
            found[index_key(self.layer.stem, zone.epsg)] = index
        return found

    def over(self, frame: Frame, sources: Sequence[VrtSource]) -> bytes:
        """A VRT with the mosaic's bands, colours, names and tags over some rasters."""
        return mosaic_vrt(self.crs, frame, self.bands, sources, self.tags)

    @property
    def tags(self) -> dict[str, str]:
        """Its metadata: the notice and the run's fingerprint."""
        notice = self.run.attribution.replace("–", "-")  # TIFF, which may be made of it, has ASCII
        return {"TIFFTAG_COPYRIGHT": notice, "TIMESEN_FINGERPRINT": self.run.fingerprint}

    @property
    def bands(self) -> list[Band]:
        """Its bands, all of one type."""
        layer, vocabulary = self.layer, self.vocabulary
        legend = vocabulary.legend if vocabulary and layer.style == "classes" else ()
        dtype = vocabulary.dtype.name if vocabulary and layer.dtype == "classes" else layer.dtype
        titles = layer.band_titles(self.run)
        # A TIFF has no colour table for several bands: GDAL would make no overviews of them.
        has_table = dtype == "uint8" and len(titles) == 1
        colours = {entry.value: entry.colour for entry in legend} if has_table else {}
        names = {entry.value: entry.name for entry in legend}
        nodata = layer.nodata if layer.nodata is not None else 0
        return [
            Band(dtype, nodata, title, colours, names, _INTERPRETED.get(band, "Gray"))
            for band, title in zip(layer.bands(self.run), titles, strict=True)
        ]

    @property
    def _pixel(self) -> float:
        return pixel_of(self.crs) if self.grid is None else self.grid.pixel

    def _sources(self, zone: _Zone, up: str) -> list[VrtSource]:
        to_cells = up if self.cells is None else self.cells
        scale = self.layer.step or 1
        return [VrtSource(f"{to_cells}{name}", frame, scale=scale) for name, frame in zone.cells]

    def _shown(self, frame: Frame) -> Frame:
        """The frame of all, or of the part that is shown; its edges are those of whole squares."""
        if self.grid is not None and self.grid.across > 1:
            squares = _snapped(frame.bounds, self.grid.square)
            frame = _frame(*squares.bounds, self.grid.pixel)
        return frame if self.within is None else self._part(frame, self.within)

    def _part(self, frame: Frame, bbox: Sequence[float]) -> Frame:
        """The part of a frame around a bbox in degrees."""
        west, south, east, north = bbox
        from_degrees = Transformer.from_crs(4326, self.crs, always_xy=True)
        bounds = from_degrees.transform_bounds(west, south, east, north, densify_pts=64)
        if np.isfinite(bounds).all() and bounds[0] < bounds[2]:
            step, edges = self._pixel if self.grid is None else self.grid.square, frame.bounds
            inward = (1, 1, -1, -1)  # pixels are cut off the edges, as many as lie outside
            cut = [
                edge + sign * step * max(math.floor(sign * (bound - edge) / step), 0)
                for edge, bound, sign in zip(edges, bounds, inward, strict=True)
            ]
            part = _frame(cut[0], cut[1], cut[2], cut[3], self._pixel)
            if part.rows > 0 and part.columns > 0:
                return part
        raise RegionError(
            ",".join(f"{edge:g}" for edge in bbox),
            "the map has nothing there",
            "Give west,south,east,north in degrees, within the map",
        )

    def _warped(self, files: dict[str, bytes], inner: str, zone: _Zone) -> VrtSource:
        """Add the VRT that warps a zone's mosaic `inner` into the CRS."""
        frame = self._warped_frame(zone)
        key, name = _beside(inner, "warped")
        files[key] = warped_vrt(name, zone.crs, zone.frame, self.crs, frame, self.bands)
        return VrtSource(key, frame)

    def _warped_frame(self, zone: _Zone) -> Frame:
        transformer = Transformer.from_crs(zone.crs, self.crs, always_xy=True)
        bounds = transformer.transform_bounds(*zone.frame.bounds, densify_pts=64)
        return _snapped(bounds, self._pixel)

    def _seam(
        self, files: dict[str, bytes], inner: str, zone: _Zone, seam: Seam
    ) -> list[VrtSource]:
        """Add the VRT that shows a zone's last pixels, of its mosaic `inner`, beyond the border."""
        windows = [_snapped(bounds, self._pixel) for bounds in seam.windows]
        frame = frame_around(windows)
        key, name = _beside(inner, seam.side)
        files[key] = warped_vrt(
            name,
            zone.crs,
            zone.frame,
            self.crs,
            frame,
            self.bands,
            within=seam.ribbon,
            step=seam.step,
        )
        return [VrtSource(key, frame, window) for window in windows]


def cells_with(
    layer: OutputLayer, items: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """The items of the cells that have a layer: cells of early versions lack newer ones."""
    if layer not in CELL_LAYERS:  # a similarity, in a folder of its own
        return items
    return [item for item in items if layer.name in item["assets"]]


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


def frame_around(frames: Sequence[Frame]) -> Frame:
    """The smallest frame around frames of one pixel grid."""
    edges = [frame.bounds for frame in frames]
    return _frame(
        min(e[0] for e in edges),
        min(e[1] for e in edges),
        max(e[2] for e in edges),
        max(e[3] for e in edges),
        frames[0].transform.a,
    )


def _beside(inner: str, suffix: str) -> tuple[str, str]:
    """The key of a raster made from a zone's mosaic, and the mosaic's name seen from there."""
    return f"{inner.removesuffix('.vrt')}-{suffix}.vrt", inner.rpartition("/")[2]


def _snapped(bounds: Sequence[float], step: float) -> Frame:
    """The frame around bounds, on whole multiples of the pixel."""
    left, bottom = (math.floor(edge / step) * step for edge in bounds[:2])
    right, top = (math.ceil(edge / step) * step for edge in bounds[2:])
    return _frame(left, bottom, right, top, step)


def _frame(left: float, bottom: float, right: float, top: float, step: float) -> Frame:
    rows, columns = round((top - bottom) / step), round((right - left) / step)
    return Frame(Affine(step, 0, left, 0, -step, top), rows, columns)
