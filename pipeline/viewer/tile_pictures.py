"""The numbers of a tile → a PNG: classes in their colours, true colour, a heat map."""

import io
from collections.abc import Collection, Sequence
from functools import cache

import numpy as np
from PIL import Image

from models.vocabulary.vocabulary_class import VocabularyParent
from pipeline.product.cog_writer import rgb
from pipeline.product.layers import NODATA_CLASS, NODATA_CONFIDENCE, WHITE
from pipeline.viewer.map_tiles import TILE_SIDE

_LEAST_SEEN = 0.12  # opacity of a class whose confidence is 0 %
_FAST = 1  # of zlib's levels: tiles go to the same machine
# Inferno of matplotlib at nine places: dark is unlike, light is like, for colour-blind people, too.
_HEAT = (
    (0, 0, 4), (32, 12, 74), (87, 16, 110), (137, 34, 106), (187, 55, 84),
    (227, 89, 51), (249, 140, 10), (249, 201, 50), (252, 255, 164),
)  # fmt: skip
HEAT_COLOURS = tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in _HEAT)
"""The colours of a heat map at equal steps from unlike to like."""


def class_png(
    values: np.ndarray,
    legend: Sequence[VocabularyParent],
    only: Collection[int] = (),
    confidence: np.ndarray | None = None,
) -> bytes:
    """Classes in the colours of a legend; other values are transparent.

    Args:
        values: uint8 or uint16 (y, x).
        legend: The classes.
        only: The values that are shown; none: all.
        confidence: uint8 (y, x) percent, as opacity; None for full opacity.
    """
    shown = [entry for entry in legend if not only or entry.value in only]
    places = np.zeros(int(np.iinfo(values.dtype).max) + 1, np.uint16)
    places[[entry.value for entry in shown]] = np.arange(1, len(shown) + 1)
    places[NODATA_CLASS] = 0
    picture = places[values]
    colours = [(0, 0, 0), *(rgb(entry.colour) for entry in shown)]
    if confidence is None and len(shown) < 256:
        image = Image.fromarray(picture.astype(np.uint8), "P")
        image.putpalette([part for colour in colours for part in colour])
        return _png(image, transparency=bytes([0, *[255] * len(shown)]))
    rgba = np.zeros((*values.shape, 4), np.uint8)
    rgba[..., :3] = np.array(colours, np.uint8)[picture]
    known = np.full(values.shape, 100) if confidence is None else confidence
    known = np.where(known == NODATA_CONFIDENCE, 0, known)
    seen = 255 * (_LEAST_SEEN + (1 - _LEAST_SEEN) * known / 100)
    rgba[..., 3] = np.where(picture > 0, seen, 0)
    return _png(Image.fromarray(rgba, "RGBA"))


def true_colour_png(values: np.ndarray) -> bytes:
    """Red, green and blue, uint8 (3, y, x), stretched; pixels of 0 are transparent."""
    seen = (values > 0).all(axis=0)
    bright = (values.astype(np.float32) * (255 / WHITE)).clip(0, 255)
    rgba = np.dstack([*bright.astype(np.uint8), np.where(seen, 255, 0).astype(np.uint8)])
    return _png(Image.fromarray(rgba, "RGBA"))


def heat_png(values: np.ndarray, low: float, high: float) -> bytes:
    """A heat map of float32 (y, x) between two numbers; NaN is transparent."""
    seen = np.isfinite(values)
    step = (np.where(seen, values, low) - low) / max(high - low, 1e-9) * 254
    picture = np.where(seen, step.clip(0, 254).round() + 1, 0).astype(np.uint8)
    image = Image.fromarray(picture, "P")
    image.putpalette(_heat_palette())
    return _png(image, transparency=bytes([0, *[255] * 255]))


@cache
def empty_png() -> bytes:
    """A tile in which nothing is seen."""
    image = Image.new("P", (TILE_SIDE, TILE_SIDE), 0)
    image.putpalette([0, 0, 0])
    return _png(image, transparency=b"\0")


@cache
def _heat_palette() -> list[int]:
    at, known = np.linspace(0, 1, 255), np.linspace(0, 1, len(_HEAT))
    parts = [np.interp(at, known, part) for part in np.array(_HEAT, float).T]
    return [0, 0, 0, *np.stack(parts, axis=1).round().astype(int).ravel().tolist()]


def _png(image: Image.Image, **options: bytes) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=_FAST, **options)
    return content.getvalue()
