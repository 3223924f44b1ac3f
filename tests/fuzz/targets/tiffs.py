"""TIFFs: headers and blocks, read as a run reads them, against GDAL."""

import json
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.shutil import copy
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.errors import ReadingError
from pipeline.raster.byte_ranges import FileRanges
from pipeline.raster.cog_header import CogHeader, read_header
from pipeline.raster.cog_reader import fetch_window, kept_headers
from pipeline.raster.read_errors import Unreadable
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader
from pipeline.raster.window import as_unsigned
from tests.fuzz.mutate import changed_bytes
from tests.fuzz.target import Files, Target, Wrong
from tests.fuzz.targets.tiff_fields import changed_fields, first_directory, with_directory

_FILE = "band.tif"
_EPSG, _LEFT, _TOP = 32631, 600000, 5700000
_SHAPE = (90, 130)
_MOST = 256  # pixels each way of a window that is compared
_OFFSETS, _COUNTS, _BITS = 324, 325, 258
_KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "differences": {"predictor": 2, "nodata": 0},
    "bytes": {"dtype": "uint8", "nodata": 7, "predictor": 2},
    "big": {"BIGTIFF": "YES", "nodata": 0},
    "stored": {"compress": "NONE", "nodata": 0},
    "masked": {"mask": True, "nodata": 0},
    "masked bytes": {"mask": True, "dtype": "uint8"},
    "overviews": {"overviews": True, "predictor": 2, "nodata": 0},
    "cog": {"driver": "COG", "nodata": 0},
    "sparse": {"SPARSE_OK": "TRUE", "nodata": 0},
    "strips": {"tiled": False, "nodata": 0},
    "lzw": {"compress": "LZW", "predictor": 2, "nodata": 0},
    "signed": {"dtype": "int16", "nodata": -1},
}


class Tiffs(Target):
    """A band's file, damaged in its directory, in its blocks, or anywhere."""

    name = "tiffs"
    refusals = (Unreadable, ReadingError)

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._files = [path.read_bytes() for path in sorted(seeds.glob("*.tif"))]
        self._tiled = [
            content for content in self._files
            if _OFFSETS in {field.tag for field in first_directory(content)[0]}
        ]  # fmt: skip

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        for number, (name, options) in enumerate(_KINDS.items()):
            _write(folder / f"{number:02}-{name.replace(' ', '-')}.tif", **options)
        (folder / "kinds.json").write_text(json.dumps(list(_KINDS)))

    def make(self, draw: random.Random) -> Files:
        kind = draw.random()
        if kind < 0.5:
            return {_FILE: changed_fields(draw.choice(self._files), draw, self._files)}
        if kind < 0.75:
            return {_FILE: _changed_block(draw.choice(self._tiled), draw)}
        content = draw.choice(self._files)
        return {_FILE: changed_bytes(content, draw, within=draw.choice((16, 600, None)))}

    def read(self, files: Files) -> None:
        path = str(self.write(files) / _FILE)
        refused = None
        try:
            self._compare(path)
        except Unreadable as error:
            refused = error
        kept_headers.drop(path)
        bounds = (_LEFT, _TOP - 10 * _SHAPE[0], _LEFT + 10 * _SHAPE[1], _TOP)
        faults = FaultLog()
        reader = NativeReader(
            url=path, spec=RasterSpec(_EPSG, bounds, (10, 10)), dtype=np.dtype("uint16"),
            faults=faults,
        )  # fmt: skip
        values = reader.read(Window(0, 0, _SHAPE[1], _SHAPE[0]))
        if values.shape != _SHAPE or values.dtype != np.uint16:
            raise Wrong(f"a window of {values.dtype} {values.shape}")
        if len(faults) and values.any():
            raise Wrong("pixels of a raster that is left out")
        if refused is not None:
            raise refused

    def _compare(self, path: str) -> None:
        """Compare our own reader's pixels and grid with GDAL's, where both read the file."""
        file = FileRanges(path)
        header = read_header(file)
        if header is None:
            return
        rows, columns = min(header.grid.height, _MOST), min(header.grid.width, _MOST)
        stored = fetch_window(file, header, (0, rows), (0, columns))
        ours = as_unsigned(stored.decoded(), header.grid.nodata)
        try:
            with rasterio.open(path, sharing=False) as dataset:
                _require_grid(header, dataset)
                theirs = _pixels(dataset, header.grid.nodata, (rows, columns))
        except (RasterioError, CRSError, UnicodeDecodeError):
            return  # what GDAL does not read cannot be compared
        if not np.array_equal(ours, theirs):
            raise Wrong("other pixels than GDAL's")


def _require_grid(header: CogHeader, dataset: DatasetReader) -> None:
    grid = header.grid
    if (grid.width, grid.height) != (dataset.width, dataset.height):
        raise Wrong(f"{grid.width} × {grid.height} pixels, and GDAL says {dataset.shape}")
    if not grid.transform.almost_equals(dataset.transform, 1e-6):
        raise Wrong(f"another grid than GDAL's, {tuple(dataset.transform)[:6]}")
    if dataset.count != 1 or np.dtype(dataset.dtypes[0]) != header.dtype:
        raise Wrong(f"{header.dtype}, and GDAL says {dataset.dtypes}")
    if dataset.crs is not None and dataset.crs.to_epsg() not in (None, grid.epsg):
        raise Wrong(f"EPSG:{grid.epsg}, and GDAL says {dataset.crs.to_epsg()}")


def _pixels(dataset: DatasetReader, nodata: int, shape: tuple[int, int]) -> np.ndarray:
    window = Window(0, 0, shape[1], shape[0])
    values = dataset.read(1, window=window)
    if MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
        values[dataset.read_masks(1, window=window) == 0] = nodata
    if dataset.nodata is not None:
        values[values == dataset.nodata] = 0
    return as_unsigned(values, nodata)


def _changed_block(content: bytes, draw: random.Random) -> bytes:
    """The file with a block that is damaged, exchanged, or inflates to something else."""
    fields, following = first_directory(content)
    tags = {field.tag: number for number, field in enumerate(fields)}
    offsets, counts = fields[tags[_OFFSETS]], fields[tags[_COUNTS]]
    block = draw.randrange(max(1, offsets.count))
    size = len(offsets.content) // offsets.count
    start = int.from_bytes(offsets.content[block * size : (block + 1) * size], "little")
    width = len(counts.content) // counts.count
    length = int.from_bytes(counts.content[block * width : (block + 1) * width], "little")
    stored = content[start : start + length]
    action = draw.randrange(6)
    if action < 2:
        return content[:start] + changed_bytes(stored, draw)[:length] + content[start + length :]
    inflated = draw.choice((0, 1, 64 * 64, 64 * 64 * 2, 64 * 64 * 2 - 1, 64 * 64 * 2 + 1, 10**6))
    made = draw.randbytes(min(inflated, 8192)).ljust(inflated, b"\7")
    replaced = (
        zlib.compress(made), made, zlib.compress(made)[2:], zlib.compress(made) + b"rest",
    )[action - 2]  # fmt: skip
    fields[tags[_OFFSETS]] = offsets.with_number(block, len(content))
    fields[tags[_COUNTS]] = counts.with_number(block, len(replaced))
    return with_directory(content + replaced, fields, following)


def _write(path: Path, **options: Any) -> None:
    draw = np.random.default_rng(len(str(options)))
    dtype = np.dtype(options.pop("dtype", "uint16"))
    values = draw.integers(0, np.iinfo(dtype).max, _SHAPE).astype(dtype)
    values[:30, :40] = 7
    values[64:, :64] = options.get("nodata") or 0
    masked, overviews = options.pop("mask", False), options.pop("overviews", False)
    cog = options.pop("driver", "GTiff") == "COG"
    profile: dict[str, Any] = {
        "driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64,
        "compress": "DEFLATE", "crs": f"EPSG:{_EPSG}", "count": 1, "dtype": dtype,
        "transform": Affine(10, 0, _LEFT, 0, -10, _TOP), "height": _SHAPE[0], "width": _SHAPE[1],
    }  # fmt: skip
    if options.get("tiled") is False:
        profile |= {"blockxsize": None, "blockysize": 16}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **{k: v for k, v in (profile | options).items() if v is not None})
        as raster,
    ):  # fmt: skip
        raster.write(values, 1)
        if masked:
            raster.write_mask(values % 3 > 0)
    if overviews:
        with rasterio.open(path, "r+") as raster:
            raster.build_overviews([2, 4], Resampling.nearest)
    if cog:
        source = path.rename(path.with_suffix(".plain"))
        copy(source, path, driver="COG", blocksize=128, overviews="AUTO", compress="DEFLATE")
        source.unlink()
