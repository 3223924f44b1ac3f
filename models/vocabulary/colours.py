"""Generated colours for classes without one."""

from collections.abc import Iterable

import numpy as np

_LIGHTNESS = (0.45, 0.85)  # OKLab: neither black-ish nor white-ish
_CHROMA = 0.07  # below, a colour looks grey
_LEVELS = 16  # per channel; 4096 candidates before the limits above
_BACKGROUND = ("#000000", "#ffffff")


def distinct_colours(count: int, taken: Iterable[str] = ()) -> tuple[str, ...]:
    """Generate `count` colours "#rrggbb", each farthest from those before it and from `taken`.

    Distances are Euclidean in OKLab (Ottosson 2020, https://bottosson.github.io/posts/oklab/);
    black and white count as taken. The same arguments give the same colours. Colours repeat
    once all candidates (about a thousand) are used.
    """
    levels = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _oklab(rgb)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    fits = (lab[:, 0] >= _LIGHTNESS[0]) & (lab[:, 0] <= _LIGHTNESS[1]) & (chroma >= _CHROMA)
    rgb, lab = rgb[fits], lab[fits]
    avoid = _oklab(np.array([_rgb(colour) for colour in (*_BACKGROUND, *taken)], np.uint8))
    distance = np.linalg.norm(lab[:, None] - avoid[None], axis=-1).min(axis=1)
    chosen = []
    for _ in range(count):
        farthest = int(distance.argmax())
        chosen.append("#{:02x}{:02x}{:02x}".format(*rgb[farthest].tolist()))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[farthest], axis=1))
        if not distance.any():
            distance = np.ones(len(lab))
    return tuple(chosen)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """uint8 sRGB (n, 3) → OKLab (n, 3); the matrices are Ottosson's."""
    s = rgb / 255.0
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    lab: np.ndarray = np.cbrt(linear @ to_cones.T) @ to_lab.T
    return lab
