"""The probabilities of classes that a map keeps: those of its first ranks, in percent."""

from dataclasses import dataclass

import numpy as np

from pipeline.product.layers import NODATA_CLASS, NODATA_CONFIDENCE


@dataclass(frozen=True, eq=False)
class RankShares:
    """The kept ranks of pixels.

    Attributes:
        classes: Class values (rank, y, x), nodata where a pixel has no such rank.
        shares: Their probabilities, float32 likewise, 0 … 1; 0 for nodata.
        rest: The probability of the classes behind the ranks, float32 (y, x); 0 where the pixel is
            nodata.
    """

    classes: np.ndarray
    shares: np.ndarray
    rest: np.ndarray


def rank_shares(classes: np.ndarray, percents: np.ndarray, none_value: int) -> RankShares:
    """The probabilities of the ranks that a map keeps.

    A confidence is the softmax over all classes; the rasters round it to percent. What the ranks
    leave to 100 % is that of the other classes. Where rounding makes the ranks' sum more than
    100 %, they are divided by it. A pixel that is "none of these" with 0 % lies below the
    vocabulary's threshold, which is no probability: it is taken for sure.

    Args:
        classes: uint8 or uint16 (rank, y, x), the first is the class shown.
        percents: uint8 likewise, 255 for nodata; bands behind those of the ranks, as the margin of
            `top-confidences`, are left out.
        none_value: The value of "none of these".
    """
    percents = percents[: len(classes)]
    there = (classes != NODATA_CLASS) & (percents != NODATA_CONFIDENCE)
    shares = np.where(there, percents, 0) / np.float32(100)
    below = (classes[0] == none_value) & (percents[0] == 0)
    shares[:, below] = 0.0
    shares[0, below] = 1.0
    total = shares.sum(axis=0)
    over = total > 1
    shares[:, over] /= total[over]
    rest = np.where(there[0], np.maximum(1 - total, 0), np.float32(0))
    return RankShares(classes, shares, rest)


def share_of(ranks: RankShares, value: int | np.ndarray, classes: int) -> np.ndarray:
    """The probability of a class at each pixel: float (y, x).

    What the kept ranks leave is shared out evenly among the classes behind them.

    Args:
        ranks: The kept ranks.
        value: A class value, or one for each pixel (y, x).
        classes: The number of classes of the map.
    """
    matches = (ranks.classes == value) & (ranks.classes != NODATA_CLASS)
    ranked = (matches * ranks.shares).sum(axis=0)
    return np.where(matches.any(axis=0), ranked, rest_each(ranks, classes))


def rest_each(ranks: RankShares, classes: int) -> np.ndarray:
    """The probability of each of the classes behind the kept ranks, likewise; 0 without any."""
    behind = classes - (ranks.classes != NODATA_CLASS).sum(axis=0)
    return np.where(behind > 0, ranks.rest / np.maximum(behind, 1), 0.0)
