"""Colours of classes in words: near the colour that each is given, and far from one another."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from models.vocabulary.colour_distance import least_difference, seen_lab

MOST_APART, LEAST_APART = 16, 10
"""ΔE*ab (CIE 1976) that colours are kept apart by: more where that takes none far from the wanted
one, less than `LEAST_APART` only where so many have no room."""
_FAR = 30  # ΔE*ab with lightness counted half; beyond, a green is no green any more
_LEVELS = 18  # per channel: 5832 candidates before the limits below
_LIGHTNESS = (22, 90)  # L*: neither black-ish nor the white of nodata
_GREY = 12  # chroma C*ab; a colour below looks grey
_UNLIKE_HUES = (315, 10)  # degrees in a*, b*: violet to pink, which no land of the legends has
_NOT_A_CLASS = ("#bdbdbd", "#f5f5f5")  # "none of these", and nodata in the preview
_LIGHTNESS_COUNTS = 0.5  # a word may rather become darker or lighter than of another hue


def separated_colours(
    names: Sequence[str], wanted: Sequence[str | None], likeness: Sequence[float]
) -> tuple[str, ...]:
    """Colours "#rrggbb" near the wanted ones and apart from one another.

    All pairs are `LEAST_APART` to `MOST_APART` or more apart, for people with usual vision,
    protanopia and deuteranopia alike; where so many do not fit, by the largest whole number that
    does. The order of the words does not matter: the word with the greatest likeness keeps its
    colour, and the next takes the nearest one that is far enough from those before. Words without a
    wanted colour take violets and pinks far from all, or what is left.

    Args:
        names: The words; of two with the same likeness, the first in the alphabet goes first.
        wanted: The colour that each should be near, None where it is like nothing.
        likeness: How much each is like that to which its wanted colour belongs.
    """
    order = sorted(range(len(names)), key=lambda i: (wanted[i] is None, -likeness[i], names[i]))
    in_order = [wanted[i] for i in order]
    for apart in (*range(MOST_APART, 0, -1), 0):
        far = _FAR if apart > LEAST_APART else np.inf
        if (colours := _placed(in_order, apart, far)) is not None:
            break
    by_word = dict(zip(order, colours or (), strict=True))
    return tuple(by_word[i] for i in range(len(names)))


def _placed(wanted: Sequence[str | None], apart: float, far: float) -> list[str] | None:
    """A colour for each, `apart` from those before; None where one has no room, or moves `far`."""
    own = _rgb([colour for colour in wanted if colour is not None])
    rgb = np.concatenate([_candidates(), own])
    seen = seen_lab(rgb)
    room = least_difference(seen, seen_lab(_rgb(_NOT_A_CLASS))).min(axis=1)
    hue = np.degrees(np.arctan2(seen[0, :, 2], seen[0, :, 1])) % 360
    unlike = (hue >= _UNLIKE_HUES[0]) | (hue <= _UNLIKE_HUES[1])
    found = []
    for colour in wanted:
        if colour is None:
            free = np.where(unlike & (room >= apart), room, -1)
            place = int((free if free.max() >= 0 else room).argmax())
        else:
            away = (seen[0] - seen_lab(_rgb([colour]))[0]) * (_LIGHTNESS_COUNTS, 1, 1)
            cost = np.linalg.norm(away, axis=1)
            place = int(np.where(room >= apart, cost, np.inf).argmin())
            if cost[place] > far:
                return None
        if room[place] < apart:
            return None
        found.append("#{:02x}{:02x}{:02x}".format(*rgb[place].tolist()))
        room = np.minimum(room, least_difference(seen, seen[:, place : place + 1])[:, 0])
    return found


@lru_cache(maxsize=1)
def _candidates() -> np.ndarray:
    """uint8 sRGB (n, 3): neither nearly black, white or grey."""
    levels = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, *chroma = seen_lab(rgb)[0].T
    fits = (lightness >= _LIGHTNESS[0]) & (lightness <= _LIGHTNESS[1])
    return rgb[fits & (np.hypot(*chroma) >= _GREY)]


def _rgb(colours: Iterable[str]) -> np.ndarray:
    return np.array([tuple(bytes.fromhex(one[1:])) for one in colours], np.uint8).reshape(-1, 3)
