"""A reader for stackstac that reads windows of rasters natively, without stackstac's warp."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.errors import ReadingError
from pipeline.io.store import public_url
from pipeline.io.user_paths import foreign_address
from pipeline.raster.access import OPEN, Access
from pipeline.raster.byte_ranges import FileRanges, HttpRanges, RasterRanges
from pipeline.raster.cog_reader import fetch_window, kept_headers
from pipeline.raster.gdal_env import gdal_failure, gdal_path, gdal_session, is_remote
from pipeline.raster.gdal_file import GdalFile, NamedFile, WebFile
from pipeline.raster.gdal_reader import read_with_gdal
from pipeline.raster.harmonised import harmonised
from pipeline.raster.prefetch import Decode, ReadAhead
from pipeline.raster.read_errors import ReadFailure, Unreadable, damaged
from pipeline.raster.read_stats import Fault, FaultLog
from pipeline.raster.retry import with_retries
from pipeline.raster.window import Extent, Target, native_window, require_extent
from pipeline.raster.window_array import WindowArray

_gdal_slots = threading.BoundedSemaphore(8)  # of threads in GDAL; free during retry pauses

# The errors other than rasterio's come from damaged headers.
_GDAL_ERRORS = (RasterioError, CRSError, CPLE_BaseError, UnicodeDecodeError)


@dataclass(frozen=True)
class ReaderSettings:
    """How rasters are opened, and what follows where one cannot be read.

    A raster that is missing (404) or damaged is nodata, and a fault. One that is unreachable
    raises ReadingError.

    Attributes:
        strict: A missing or damaged raster raises ReadingError, too.
        timeout: Seconds to wait for a server's next bytes.
        retry_seconds: How long a request is sent again after a failure that may pass: no
            connection, no bytes in time, HTTP 429 and 5xx.
        access: How the archive's rasters are opened.
        trust_offsets: Apply the offsets that items state, even where their numbers contradict them.
    """

    strict: bool = False
    timeout: float = 30.0
    retry_seconds: float = 120.0
    access: Access = OPEN
    trust_offsets: bool = False


class NativeReader:
    """Reads windows of one single-band raster, after `stackstac.reader_protocol.Reader`.

    The raster's own georeferencing decides, not its item's. Where its grid agrees with the grid of
    `spec`, the native window is read as it is. Where its pixels are a whole number of times
    coarser, they are repeated. Where the grids differ otherwise, it is warped by nearest
    neighbour. Nodata, pixels outside the raster and, in bands of uint16, saturated pixels are 0.

    Tiled GeoTIFFs in files and on HTTP servers are read by `pipeline.raster.cog_reader`, all other
    rasters by GDAL. A reader holds no open file, so it is thread-safe and, without `ahead`, can be
    pickled.

    Args:
        url: The raster's href.
        spec: The grid of the windows.
        resampling: Must be nearest.
        dtype: The dtype of the windows, uint8 or uint16.
        fill_value: Must be 0.
        scale_offset: Must be (1, 0).
        gdal_env: Ignored.
        errors_as_nodata: Ignored.
        offsets: Href → number that is added to stored numbers.
        bands: Href → band, for the names in `faults`.
        extents: Href → extent that the item states; a raster that contradicts it is damaged.
        faults: Takes the rasters that are left out.
        settings: How rasters are opened.
        ahead: Fetches several readers' windows at once; then they are read in the order in which
            they were made.
        into: Takes the windows in place of stackstac's array.
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
        extents: Mapping[str, Extent] | None = None,
        faults: FaultLog | None = None,
        settings: ReaderSettings | None = None,
        ahead: ReadAhead | None = None,
        into: WindowArray | None = None,
    ) -> None:
        if fill_value != 0 or tuple(scale_offset) != (1, 0) or resampling != Resampling.nearest:
            raise ValueError("NativeReader fills with 0, does not rescale, and takes the nearest")
        self.url = url
        self.spec = spec
        self.dtype = np.dtype(dtype)
        self.offset = (offsets or {}).get(url, 0)
        self.band = (bands or {}).get(url, "")
        self.extent = (extents or {}).get(url)
        self.faults = FaultLog() if faults is None else faults
        self.settings = settings or ReaderSettings()
        self._into = into
        self._ahead = ahead
        self._number = ahead.announce(self._fetch) if ahead else 0

    def read(self, window: Window, **kwargs: Any) -> np.ndarray:
        """The window (pixels of `spec`) in `dtype`, offset removed, 0 = nodata: (rows, columns).

        With `into` the window is put there, and one pixel of nodata is given: stackstac takes that
        for a raster without data, and makes no array.

        Raises ReadingError where the raster is unreachable, so that a failure of network, server
        or credentials never passes for land without observations; and where it is missing or
        damaged, if the settings are strict.
        """
        ahead = self._ahead
        decode = ahead.take(self._number, window) if ahead else self._fetch(window)
        if self._into is None:
            return decode()
        self._into.put(self.url, decode())
        return np.zeros((1, 1), self.dtype)

    def close(self) -> None:
        """Nothing is held open."""

    def _fetch(self, window: Window) -> Decode:
        """Fetch the bytes of a window; the result decodes them."""
        target = _target(self.spec, window)
        try:
            stored = self._stored(target)
        except Unreadable as error:
            failed = error.failure
        else:
            return lambda: self._decode_or_leave_out(stored, target)
        blank = self._left_out(failed, target)
        return lambda: blank

    def _decode_or_leave_out(self, stored: Decode, target: Target) -> np.ndarray:
        try:
            values = stored()
            if self.offset and values.dtype != np.uint16:
                raise damaged(f"holds {values.dtype}, not the numbers of a band with an offset")
        except Unreadable as error:
            failed = error.failure
        else:
            out = None if self._into is None else self._into.place(self.url)
            return self._narrowed(harmonised(values, self.offset, out))
        return self._left_out(failed, target)

    def _left_out(self, failed: ReadFailure, target: Target) -> np.ndarray:
        """Nodata and a fault in place of a raster that cannot be read, or ReadingError."""
        fault = Fault(public_url(self.url), self.band, failed.reason)
        if failed.unreachable:
            raise ReadingError(
                f"{fault.asset}: {fault.reason}. Start again when it can be reached to go on"
            )
        if self.settings.strict:
            raise ReadingError(
                f"{fault.asset}: {fault.reason}. Start again when it can be read, or without "
                "strictness to leave this observation out"
            )
        self.faults.append(fault)
        return np.zeros(target.shape, self.dtype)

    def _stored(self, target: Target, again: bool = False) -> Decode:
        """Fetch the stored window; the result decodes it.

        Both raise Unreadable, without a cause that may hold a secret.
        """
        file = self._file()
        if file is not None:
            known = self.url in kept_headers and not again
            try:
                fetched = self._without_gdal(file, target)
            except Unreadable as error:
                kept_headers.drop(self.url)
                if not known or error.failure.unreachable:
                    raise
                fetched = self._without_gdal(file, target)  # the file may have been replaced since
            if fetched is not None:
                return lambda: self._decoded(fetched, target, known)
        read = partial(self._with_gdal, target)
        if isinstance(file, HttpRanges):
            # No request is sent again while a slot of GDAL is taken.
            read = partial(self._attempt, target, WebFile(replace(file, retry_seconds=0.0)))
        values = with_retries(read, self.settings.retry_seconds, self.faults.retried)
        return lambda: values

    def _decoded(self, fetched: Decode, target: Target, known: bool) -> np.ndarray:
        try:
            return fetched()
        except Unreadable:
            kept_headers.drop(self.url)
            if not known:
                raise
        return self._stored(target, again=True)()

    def _without_gdal(self, file: RasterRanges, target: Target) -> Decode | None:
        """The window of a tiled GeoTIFF whose grid agrees with the target's; None for others."""
        header = kept_headers.read(file, self.url)
        if header is None or header.grid.epsg != self.spec.epsg:
            return None
        require_extent(header.grid, self.extent)
        native = native_window(header.grid, target, self.extent)
        if native is None:
            return None
        fetched = fetch_window(file, header, native.rows, native.columns)
        return lambda: native.placed(fetched.decoded())

    def _file(self) -> RasterRanges | None:
        """The raster's bytes, where they are read without GDAL. Raises Unreadable."""
        if problem := self.settings.access.rules.problem(self.url):
            raise Unreadable(ReadFailure(f"must not be opened: {problem}", unreachable=True))
        if problem := foreign_address(self.url, ("https", "http", "s3", "file")):
            raise damaged(f"cannot be opened: {problem}")
        scheme = urlsplit(self.url).scheme
        if scheme in ("http", "https"):
            settings, log = self.settings, self.faults
            return HttpRanges(
                *(self.url, settings.access, settings.timeout, settings.retry_seconds),
                retried=log.retried,
                count=log.count,
            )
        if scheme == "file":
            return FileRanges(unquote(urlsplit(self.url).path), self.faults.count)
        if "://" in self.url or self.url.startswith("/vsi"):
            return None
        return FileRanges(self.url, self.faults.count)

    def _with_gdal(self, target: Target) -> np.ndarray:
        file = NamedFile(gdal_path(self.url))
        try:
            return self._attempt(target, file)
        except Unreadable as error:
            if error.failure.certain or not is_remote(self.url):
                raise
        # In the middle of a file GDAL reports a cut file and a refused request alike.
        self.faults.retried()
        return self._attempt(target, file, report_refusals=True)

    def _attempt(
        self, target: Target, file: GdalFile, *, report_refusals: bool = False
    ) -> np.ndarray:
        failed: ReadFailure
        try:
            with (
                _gdal_slots,
                gdal_session(
                    self.settings.timeout,
                    self.settings.access.s3_options() if self.url.startswith("s3://") else {},
                    uncached=report_refusals or self.url in _failed_before,
                    report_refusals=report_refusals,
                    least_rate=self.settings.access.rules.least_rate,
                ),
            ):
                values = read_with_gdal(file, self.spec.epsg, target, self.extent)
            _failed_before.discard(self.url)
            return values
        except Unreadable as error:
            failed = error.failure
        except _GDAL_ERRORS as error:
            failed = gdal_failure(error)
        _failed_before.add(self.url)
        raise Unreadable(failed)  # not as its cause, which may hold a secret

    def _narrowed(self, values: np.ndarray) -> np.ndarray:
        if values.dtype.itemsize > self.dtype.itemsize:
            values = np.minimum(values, np.iinfo(self.dtype).max)
        return values.astype(self.dtype, copy=False)


# URLs that failed when this process last read them: GDAL would not try them again.
_failed_before: set[str] = set()


def _target(spec: RasterSpec, window: Window) -> Target:
    step_x, step_y = spec.transform.a, spec.transform.e
    left = spec.transform.c + window.col_off * step_x
    top = spec.transform.f + window.row_off * step_y
    shape = (round(window.height), round(window.width))
    return Target(Affine(step_x, 0, left, 0, step_y, top), shape)
