"""Smoothing of classes alone: the majority in a window, and a minimum mapping unit."""

import math

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from pipeline.product.layers import NODATA_CLASS


def majority_of(classes: np.ndarray, window: int) -> np.ndarray:
    """The most frequent class in a window around each pixel.

    Pixels without a class are not counted, and stay without one. Where several classes are the most
    frequent, the pixel keeps its own if it is one of them; else the lowest value wins.

    Args:
        classes: uint8 or uint16 (y, x), with `window // 2` pixels more on each side.
        window: The side of the window in pixels, an odd number.

    Returns:
        The dtype of `classes`, (y, x) without the pixels more.
    """
    halo = window // 2
    own = classes[halo : classes.shape[0] - halo, halo : classes.shape[1] - halo]
    best, of_own = np.zeros(own.shape, np.int32), np.zeros(own.shape, np.int32)
    winner = own.copy()
    for value in np.flatnonzero(np.bincount(classes.ravel())):
        if value == NODATA_CLASS:
            continue
        count = window_sum(classes == value, window, np.int32)
        of_own = np.where(own == value, count, of_own)
        winner[count > best] = value
        np.maximum(best, count, out=best)
    keeps = (of_own == best) | (own == NODATA_CLASS)
    winner[keeps] = own[keeps]
    return winner


def window_sum(values: np.ndarray, window: int, dtype: type[np.generic]) -> np.ndarray:
    """The sum in the window around each pixel that has a whole one: (y, x) of a dtype.

    Args:
        values: Numbers or truths (y, x), with `window // 2` pixels more on each side.
        window: The side of the window in pixels, an odd number.
        dtype: What sums of all values fit into.
    """
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1), dtype)
    np.cumsum(values, axis=0, dtype=dtype, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    inner: np.ndarray = (
        sums[window:, window:]
        - sums[:-window, window:]
        - sums[window:, :-window]
        + sums[:-window, :-window]
    )
    return inner


def unit_reach(pixels: int) -> int:
    """How far, in pixels, a small patch looks for a large one: twice the side of a square unit."""
    return 2 * math.ceil(math.sqrt(pixels))


def unit_halo(pixels: int) -> int:
    """The pixels around a cell that `without_small_patches` needs to know."""
    return unit_reach(pixels) + pixels


def without_small_patches(classes: np.ndarray, pixels: int, halo: int) -> np.ndarray:
    """Classes without patches of less than a minimum mapping unit.

    A patch is of pixels of one class that share sides. The pixels of a smaller patch take the class
    of the nearest pixel of a patch that is large enough, as GIS do that “nibble” at masks. Where
    none lies within `unit_reach`, they stay. What becomes of a pixel depends on nothing further
    away than `unit_halo`, so cells fit together; GDAL's sieve, which merges patches one after the
    other, has no such limit.

    Args:
        classes: uint8 or uint16 (y, x), with `halo` pixels more on each side.
        pixels: The unit.
        halo: `unit_halo`, or more.

    Returns:
        The dtype of `classes`, (y, x) without the pixels more.
    """
    small = np.zeros(classes.shape, bool)
    for value in np.flatnonzero(np.bincount(classes.ravel())):
        if value != NODATA_CLASS:
            patches, count = label(classes == value)
            sizes = np.bincount(patches.ravel(), minlength=count + 1)
            of_small = sizes < pixels
            of_small[0] = False
            small |= of_small[patches]
    reach = unit_reach(pixels)
    near = (slice(halo - reach, side - halo + reach) for side in classes.shape)
    window = tuple(near)
    small, classes = small[window], classes[window]
    large = (classes != NODATA_CLASS) & ~small
    inner = tuple(slice(reach, side - reach) for side in classes.shape)
    filled = classes[inner].copy()
    if not large.any():
        return filled
    distance, nearest = distance_transform_edt(~large, return_indices=True)
    takes = (small & (distance <= reach))[inner]
    found = classes[nearest[0][inner], nearest[1][inner]]
    filled[takes] = found[takes]
    return filled
