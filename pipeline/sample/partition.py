"""Divisions of a plane: cells around seeds, strips, distances to a path."""

import numpy as np
from numba import njit


def cuts(rng: np.random.Generator, shortest: float, longest: float) -> np.ndarray:
    """Cut a line from −1500 m to 1500 m into pieces of random length (metres): the cuts' places."""
    lengths = rng.uniform(shortest, longest, int(3000 / shortest) + 1)
    return -1500 + np.cumsum(lengths)


def bent(start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    """A curved path of 24 points (n, 2) between two places, `bend` metres aside midway."""
    along = np.linspace(0, 1, 24)[:, None]
    aside = np.array([start[1] - end[1], end[0] - start[0]]) / np.hypot(*(end - start))
    sway = np.sin(np.pi * along) + 0.4 * np.sin(3 * np.pi * along)
    return start + (end - start) * along + bend * sway * aside


@njit(nogil=True, cache=True)
def nearest(x: np.ndarray, y: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest seed of each place, and the distance (m) to the border of its cell."""
    rows, columns = x.shape
    owner = np.empty((rows, columns), np.int64)
    gap = np.empty((rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            first, second, k1, k2 = np.inf, np.inf, 0, 0
            for k in range(len(seeds)):
                distance = (x[i, j] - seeds[k, 0]) ** 2 + (y[i, j] - seeds[k, 1]) ** 2
                if distance < first:
                    second, k2, first, k1 = first, k1, distance, k
                elif distance < second:
                    second, k2 = distance, k
            owner[i, j] = k1
            gap[i, j] = _gap(first, second, seeds[k1], seeds[k2])
    return owner, gap


@njit(nogil=True, cache=True)
def jittered(x: np.ndarray, y: np.ndarray, size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, with one random seed in each square of `size` metres."""
    rows, columns = x.shape
    lowest = np.floor(min(x[0, 0], x[-1, -1]) / size) - 2
    count = int(np.floor(abs(x[0, 0] - x[-1, -1]) / size)) + 6
    np.random.seed(seed)
    spots = np.random.random((count, count, 2))
    owner = np.empty((rows, columns), np.int64)
    gap = np.empty((rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            u, v = x[i, j] / size - lowest, y[i, j] / size - lowest
            first, second = np.inf, np.inf
            best = np.zeros(2)
            other = np.zeros(2)
            for a in range(int(v) - 1, int(v) + 2):
                for b in range(int(u) - 1, int(u) + 2):
                    su, sv = b + spots[a, b, 0], a + spots[a, b, 1]
                    distance = (u - su) ** 2 + (v - sv) ** 2
                    if distance < first:
                        second, other[0], other[1] = first, best[0], best[1]
                        first, best[0], best[1] = distance, su, sv
                        owner[i, j] = a * count + b
                    elif distance < second:
                        second, other[0], other[1] = distance, su, sv
            gap[i, j] = _gap(first, second, best, other) * size
    return owner, gap


@njit(nogil=True, cache=True)
def to_path(x: np.ndarray, y: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Distance (m) of each place to a path of points (n, 2): float32."""
    distance = np.empty(x.shape, np.float32)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            best = np.inf
            for k in range(len(path) - 1):
                dx, dy = path[k + 1, 0] - path[k, 0], path[k + 1, 1] - path[k, 1]
                px, py = x[i, j] - path[k, 0], y[i, j] - path[k, 1]
                along = min(1.0, max(0.0, (px * dx + py * dy) / (dx * dx + dy * dy)))
                best = min(best, (px - along * dx) ** 2 + (py - along * dy) ** 2)
            distance[i, j] = np.sqrt(best)
    return distance


@njit(nogil=True, cache=True)
def _gap(first: float, second: float, owner: np.ndarray, other: np.ndarray) -> float:
    """Distance to the line midway between two seeds, from squared distances to them."""
    apart = np.sqrt((owner[0] - other[0]) ** 2 + (owner[1] - other[1]) ** 2)
    return (second - first) / (2 * apart)
