"""Stored numbers of a band → reflectance × 10000: the offset, nodata and saturated pixels."""

import numpy as np
from numba import int64

from pipeline.raster.compiled import array_type, compiled_for

_SATURATED = 65535  # as it is stored (Sentinel-2 Products Specification, special values)


def harmonised(values: np.ndarray, offset: int, out: np.ndarray | None = None) -> np.ndarray:
    """Reflectance × 10000 from stored numbers, uint8 or uint16 (y, x), changed in place.

    The offset (0 for uint8) is added to numbers of uint16. 0 stays 0 (nodata) and saturated
    numbers of uint16 become 0; all others are 1 … 65535. With `out` of the same shape and dtype,
    numbers of uint16 are put there, and `out` is given.
    """
    if values.dtype == np.uint16:
        if out is None or (out.shape, out.dtype) != (values.shape, values.dtype):
            out = values
        _harmonise(values, offset, out)
        return out
    if offset:
        raise ValueError("only bands of uint16 have an offset")
    return values


@compiled_for(
    *(
        (array_type(np.uint16, c), int64, array_type(np.uint16, c, changed=True))
        for c in ("C", "A")
    ),
)
def _harmonise(values: np.ndarray, offset: int, out: np.ndarray) -> None:
    moved = np.int32(offset)
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            stored = np.int32(values[y, x])
            harmonic = min(max(stored + moved, np.int32(1)), np.int32(65535))
            out[y, x] = np.int32(0) if stored == 0 or stored == _SATURATED else harmonic
