"""Colours of classes that people with any of the three kinds of colour blindness can tell apart."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from models.vocabulary.vocabulary import Vocabulary
from pipeline.product.cog_writer import rgb

# Machado, Oliveira and Fernandes (2009), "A physiologically-based model for simulation of color
# vision deficiency", severity 1.0: linear red, green and blue as a dichromat sees them.
_VISIONS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [  # without long-wave cones (protanopia)
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [  # without middle-wave cones (deuteranopia)
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [  # without short-wave cones (tritanopia)
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)
# Ottosson (2020), "A perceptual color space for image processing" (Oklab).
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_LEVELS = 14  # of red, green and blue, among which colours are sought
_LIGHTNESS = (0.25, 0.93)  # of Oklab: other colours look black, or white as paper is
_ENOUGH = 0.12  # of Oklab's units, six times what is just noticeable: no further apart is sought
_MOST = 120  # classes
_STEPS = 12  # halvings of the distance that is sought


def colour_blind_safe(vocabulary: Vocabulary) -> dict[int, str]:
    """Colours ("#rrggbb") of a legend's values that stay apart in all kinds of colour blindness.

    Each is the nearest to the class's own colour that has, in normal vision and as each kind of
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
    lightness = seen(candidates)[0, :, 0]
    candidates = candidates[(lightness > _LIGHTNESS[0]) & (lightness < _LIGHTNESS[1])]
    places, targets = seen(candidates), seen(wanted)[0]
    colours: Sequence[str] = own
    apart, too_far = 0.0, 2 * _ENOUGH
    for _ in range(_STEPS):
        middle = (apart + too_far) / 2
        if middle <= _ENOUGH and (chosen := _chosen(places, targets, middle)):
            colours = ["#{:02x}{:02x}{:02x}".format(*candidates[i].astype(int)) for i in chosen]
            apart = middle
        else:
            too_far = middle
    return colours


def _chosen(places: np.ndarray, targets: np.ndarray, apart: float) -> list[int] | None:
    """Of each target the nearest candidate that is so far from all chosen before; None if none is.

    Args:
        places: float (vision, candidate, 3), the candidates as they are seen, in Oklab.
        targets: float (class, 3), the wanted colours in normal vision.
        apart: The least distance.
    """
    free, chosen = np.ones(places.shape[1], bool), []
    for target in targets:
        if not free.any():
            return None
        distance = np.linalg.norm(places[0] - target, axis=1)
        best = int(np.argmin(np.where(free, distance, np.inf)))
        chosen.append(best)
        distances = np.linalg.norm(places - places[:, best : best + 1], axis=2)
        free &= distances.min(axis=0) > apart
    return chosen


def seen(colours: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Colours (n, 3) of 0 … 255 in Oklab, by four kinds of vision: float (vision, n, 3)."""
    encoded = np.asarray(colours, float) / 255
    # IEC 61966-2-1 (sRGB).
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    perceived = np.clip(np.einsum("vij,nj->vni", _VISIONS, linear), 0, 1)
    return np.asarray(np.cbrt(perceived @ _TO_CONES.T) @ _TO_OKLAB.T)
