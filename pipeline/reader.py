"""Rasters → windows of `uint16`, read natively: stackstac's reader protocol without its warp."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.errors import ReadingError
from pipeline.gdal_access import Failure, failure, gdal_path, gdal_session, is_remote
from pipeline.storage import public_url

_ALIGNED = 1e-3  # of a pixel: grids closer than that are one


@dataclass(frozen=True)
class Fault:
    """A raster that was left out: its URL without secrets, its band, and a short reason."""

    asset: str
    band: str
    reason: str


class FaultLog:
    """The faults that readers of this process have met; threads may share one."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def append(self, fault: Fault) -> None:
        """Note a fault."""
        self._faults.append(fault)

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def __dask_tokenize__(self) -> int:
        return id(self)  # what a reader reads does not depend on the faults it has met


@dataclass(frozen=True)
class ReaderSettings:
    """How a raster that cannot be read is met.

    `timeout` is the seconds a request may take; one that takes longer, or is answered with 429 or
    5xx, is sent again up to `retries` times. A raster that is still unreachable then raises. One
    that is missing (404) or damaged is nodata, and a fault; with `strict` it raises, too.
    """

    strict: bool = False
    timeout: float = 60.0
    retries: int = 4


class NativeReader:
    """Reads windows of one single-band raster, after `stackstac.reader_protocol.Reader`.

    The raster's own georeferencing decides. Where its grid agrees with the one asked for, the
    native window is read as it is; where its pixels are a whole number of times coarser, they are
    repeated; only where grids truly differ it is warped, by nearest neighbour. What lies outside
    the raster is 0, and so is the raster's own nodata value. Holds no open file, so it is
    thread-safe and can be pickled.

    `offsets` (href → DN) is what is added to stored numbers, `bands` (href → band) names them in
    `faults`.
    """

    def __init__(
        self,
        *,
        url: str,
        spec: RasterSpec,
        resampling: Resampling = Resampling.nearest,
        dtype: np.dtype,
        fill_value: int | float = 0,
        scale_offset: tuple[int | float, int | float] = (1, 0),
        gdal_env: Any = None,
        errors_as_nodata: tuple[Exception, ...] = (),
        offsets: Mapping[str, int] | None = None,
        bands: Mapping[str, str] | None = None,
        faults: FaultLog | None = None,
        settings: ReaderSettings | None = None,
    ) -> None:
        if fill_value != 0 or tuple(scale_offset) != (1, 0) or resampling != Resampling.nearest:
            raise ValueError("NativeReader fills with 0, does not rescale, and takes the nearest")
        self.url = url
        self.spec = spec
        self.dtype = np.dtype(dtype)
        self.offset = (offsets or {}).get(url, 0)
        self.band = (bands or {}).get(url, "")
        self.faults = FaultLog() if faults is None else faults
        self.settings = settings or ReaderSettings()

    def read(self, window: Window, **kwargs: Any) -> np.ndarray:
        """The window (pixels of `spec`) in `dtype`, offset removed, 0 = nodata: (rows, columns).

        Raises ReadingError where the raster is unreachable, so that a failure of network, server
        or credentials never passes for land without observations; and where it is missing or
        damaged, if the settings are strict.
        """
        found = self._attempt(window, fresh=self.url in _failed_before)
        if isinstance(found, Failure) and not found.certain and is_remote(self.url):
            # In the middle of a file GDAL has one word for a cut file and for a refused request.
            found = self._attempt(window, fresh=True, doubting=True)
        if not isinstance(found, Failure):
            _failed_before.discard(self.url)
            return self._narrowed(remove_offset(found, self.offset))
        _failed_before.add(self.url)
        fault = Fault(public_url(self.url), self.band, found.reason)
        if found.unreachable:
            raise ReadingError(
                f"{fault.asset}: {fault.reason}. Start again when it can be reached to go on"
            )
        if self.settings.strict:
            raise ReadingError(
                f"{fault.asset}: {fault.reason}. Start again when it can be read, or without "
                "strictness to leave this observation out"
            )
        self.faults.append(fault)
        return np.zeros((round(window.height), round(window.width)), self.dtype)

    def _attempt(
        self, window: Window, *, fresh: bool, doubting: bool = False
    ) -> np.ndarray | Failure:
        """The window as it is stored; a failure is no exception, whose cause may hold a secret."""
        try:
            with (
                gdal_session(
                    self.settings.timeout, self.settings.retries, fresh=fresh, doubting=doubting
                ),
                rasterio.open(gdal_path(self.url), sharing=False) as raster,
            ):
                return _read_window(raster, self.spec, window)
        except _Unreadable as error:
            return Failure(str(error), unreachable=False)
        except RasterioError as error:
            return failure(error)

    def close(self) -> None:
        """Nothing is held open."""

    def _narrowed(self, values: np.ndarray) -> np.ndarray:
        if values.dtype.itemsize > self.dtype.itemsize:
            values = np.minimum(values, np.iinfo(self.dtype).max)
        return values.astype(self.dtype, copy=False)


def remove_offset(values: np.ndarray, offset: int) -> np.ndarray:
    """Reflectance × 10000 from stored numbers: 0 stays 0 (nodata), else within 1 … 65535.

    `values` is an unsigned integer array; the result, of its dtype, may be `values` itself.
    """
    if offset == 0:
        return values
    top = np.iinfo(values.dtype).max
    if offset < 0:
        shift = values.dtype.type(min(-offset, top - 1))
        moved = np.maximum(values, shift + values.dtype.type(1)) - shift
    else:
        shift = values.dtype.type(min(offset, top))
        moved = np.minimum(values, top - shift) + shift
    return moved * (values != 0)


class _Unreadable(Exception):
    """A raster that opens, but is not what is asked for."""


# URLs that failed when this process last read them: GDAL would remember it, and not try again.
_failed_before: set[str] = set()


def _read_window(raster: DatasetReader, spec: RasterSpec, window: Window) -> np.ndarray:
    if raster.count != 1:
        raise _Unreadable(f"has {raster.count} bands, not one")
    if np.dtype(raster.dtypes[0]).kind not in "ui":
        raise _Unreadable(f"holds {raster.dtypes[0]}, not integers")
    if raster.crs is None:
        raise _Unreadable("has no coordinate reference system")
    nodata = _nodata(raster)
    step_x, step_y = spec.transform.a, spec.transform.e
    left = spec.transform.c + window.col_off * step_x
    top = spec.transform.f + window.row_off * step_y
    target = Affine(step_x, 0, left, 0, step_y, top)
    shape = (round(window.height), round(window.width))
    placement = _placement(raster, spec, target)
    if placement is None:
        with WarpedVRT(
            raster,
            crs=CRS.from_epsg(spec.epsg),
            transform=target,
            height=shape[0],
            width=shape[1],
            resampling=Resampling.nearest,
            src_nodata=nodata,
            nodata=nodata,
        ) as warped:
            return _unsigned(warped.read(1), nodata)
    return _read_native(raster, *placement, shape, nodata)


def _nodata(raster: DatasetReader) -> int:
    """The value that stands for nodata: the raster's own where its type can hold it, else 0."""
    limits = np.iinfo(raster.dtypes[0])
    own = raster.nodata
    if own is None or not (limits.min <= own <= limits.max and float(own).is_integer()):
        return 0
    return int(own)


def _placement(
    raster: DatasetReader, spec: RasterSpec, target: Affine
) -> tuple[int, int, int] | None:
    """How often the raster's pixels are repeated, and the target's row and column in those.

    None where the two grids truly differ.
    """
    own = raster.transform
    ratio = round(own.a / target.a)
    row, column = (own.f - target.f) / -target.e, (target.c - own.c) / target.a
    agree = (
        ratio >= 1
        and own.b == own.d == 0
        and abs(own.a - ratio * target.a) * raster.width < _ALIGNED * target.a
        and abs(own.e - ratio * target.e) * raster.height < _ALIGNED * -target.e
        and abs(row - round(row)) < _ALIGNED
        and abs(column - round(column)) < _ALIGNED
        and (raster.crs == CRS.from_epsg(spec.epsg) or raster.crs.to_epsg() == spec.epsg)
    )
    return (ratio, round(row), round(column)) if agree else None


def _read_native(
    raster: DatasetReader, ratio: int, row: int, column: int, shape: tuple[int, int], nodata: int
) -> np.ndarray:
    """`shape` pixels from `row`, `column` on, counted in pixels `ratio` times finer than its own.

    Outside the raster they are 0.
    """
    rows = (max(row, 0), min(row + shape[0], raster.height * ratio))
    columns = (max(column, 0), min(column + shape[1], raster.width * ratio))
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        raise _Unreadable("lies elsewhere than its item says")
    first_row, first_column = rows[0] // ratio, columns[0] // ratio
    native = Window(
        first_column,
        first_row,
        -(-columns[1] // ratio) - first_column,
        -(-rows[1] // ratio) - first_row,
    )
    values = _unsigned(raster.read(1, window=native), nodata)
    if ratio > 1:
        values = values.repeat(ratio, axis=0).repeat(ratio, axis=1)
        skip_rows, skip_columns = rows[0] - first_row * ratio, columns[0] - first_column * ratio
        values = values[skip_rows:, skip_columns:]
        values = values[: rows[1] - rows[0], : columns[1] - columns[0]]
    if values.shape == shape:
        return values
    padded = np.zeros(shape, values.dtype)
    padded[rows[0] - row : rows[1] - row, columns[0] - column : columns[1] - column] = values
    return padded


def _unsigned(values: np.ndarray, nodata: int) -> np.ndarray:
    """The values as uint8 or uint16, 0 where they are nodata or below 0."""
    if nodata != 0:
        values[values == nodata] = 0
    if values.dtype in (np.uint8, np.uint16):
        return values
    return np.clip(values, 0, 65535).astype(np.uint16)
