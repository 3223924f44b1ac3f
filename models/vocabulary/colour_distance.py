"""How different colours look, also to people who cannot tell some of them apart."""

import numpy as np

# D65, 2°: the white of sRGB (IEC 61966-2-1) and its matrix from linear RGB to CIE XYZ.
_WHITE = np.array([0.95047, 1.0, 1.08883])
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
# Linear RGB as it looks without red and without green cones: Machado, Oliveira & Fernandes (2009),
# https://doi.org/10.1109/TVCG.2009.113, severity 1.0.
_PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
_DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
_TRITANOPIA = np.array(  # without blue cones, which is rare
    [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ]
)
_VISIONS = (np.eye(3), _PROTANOPIA, _DEUTERANOPIA)


def seen_lab(rgb: np.ndarray, *, tritanopia: bool = False) -> np.ndarray:
    """CIELAB of colours as three kinds of eyes see them: float64 (3, n, 3) of uint8 sRGB (n, 3).

    The first axis is usual vision, protanopia and deuteranopia, and if asked for tritanopia; the
    last is L*, a*, b* (CIE 15).
    """
    visions = (*_VISIONS, _TRITANOPIA) if tritanopia else _VISIONS
    s = np.asarray(rgb, np.float64) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    seen = np.stack([(linear @ vision.T).clip(0, 1) for vision in visions])
    ratio = seen @ _TO_XYZ.T / _WHITE
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def least_difference(seen: np.ndarray, other: np.ndarray) -> np.ndarray:
    """ΔE*ab (CIE 1976, the distance in CIELAB) in the vision in which it is least.

    Both as `seen_lab` gives them, (vision, n, 3) and (vision, m, 3); the result is float64 (n, m).
    """
    apart: np.ndarray = np.linalg.norm(seen[:, :, None] - other[:, None], axis=-1).min(axis=0)
    return apart
