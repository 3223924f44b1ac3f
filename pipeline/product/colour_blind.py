"""Colours of classes that people with any of the three kinds of colour blindness can tell apart."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from models.vocabulary.colour_distance import least_difference, seen_lab
from models.vocabulary.vocabulary import Vocabulary
from pipeline.product.cog_writer import rgb

_LEVELS = 14  # of red, green and blue, among which colours are sought
_LIGHTNESS = (20.0, 92.0)  # L*: other colours look black, or white as paper is
_ENOUGH = 16.0  # ΔE*ab, seven times what is just noticeable (2.3): no further apart is sought
_MOST = 120  # classes
_STEPS = 12  # halvings of the distance that is sought


def colour_blind_safe(vocabulary: Vocabulary) -> dict[int, str]:
    """Colours ("#rrggbb") of a legend's values that stay apart in all kinds of colour blindness.

    Each is the nearest to the class's own colour that has, in usual vision and as each kind of
    dichromat sees it, a distance from all classes before it. That distance is the largest that so
    many classes allow, or `_ENOUGH`. More than `_MOST` classes keep their own colours: nobody could
    tell so many apart.
    """
    legend = vocabulary.legend
    colours = _apart(tuple(entry.colour for entry in legend))
    return {entry.value: colour for entry, colour in zip(legend, colours, strict=True)}


@lru_cache(maxsize=8)
def _apart(own: tuple[str, ...]) -> Sequence[str]:
    """Colours that are near to these, and apart."""
    if len(own) > _MOST:
        return own
    levels = np.linspace(0, 255, _LEVELS).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    wanted = np.array([rgb(colour) for colour in own], float)
    candidates = np.concatenate([wanted, grid])
    lightness = seen_lab(candidates)[0, :, 0]
    candidates = candidates[(lightness > _LIGHTNESS[0]) & (lightness < _LIGHTNESS[1])]
    seen = seen_lab(candidates, tritanopia=True)
    usual = least_difference(seen_lab(wanted)[:1], seen[:1])
    colours: Sequence[str] = own
    apart, too_far = 0.0, 2 * _ENOUGH
    for _ in range(_STEPS):
        middle = (apart + too_far) / 2
        if middle <= _ENOUGH and (chosen := _chosen(seen, usual, middle)):
            colours = ["#{:02x}{:02x}{:02x}".format(*candidates[i].astype(int)) for i in chosen]
            apart = middle
        else:
            too_far = middle
    return colours


def _chosen(seen: np.ndarray, wanted: np.ndarray, apart: float) -> list[int] | None:
    """Of each class the nearest candidate that is so far from all chosen before; None if none is.

    Args:
        seen: float (vision, candidate, 3), the candidates as `seen_lab` gives them.
        wanted: float (class, candidate), their differences from the wanted colours.
        apart: The least difference.
    """
    free, chosen = np.ones(seen.shape[1], bool), []
    for difference in wanted:
        if not free.any():
            return None
        best = int(np.argmin(np.where(free, difference, np.inf)))
        chosen.append(best)
        free &= least_difference(seen[:, best : best + 1], seen)[0] > apart
    return chosen
