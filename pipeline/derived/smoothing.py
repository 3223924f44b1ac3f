"""The ways to smooth a map: by majority, by a minimum mapping unit, by Bayes's rule."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from models.vocabulary.vocabulary import Vocabulary
from pipeline.derived.bayes import logits_of, smoothed_logits
from pipeline.derived.majority import majority_of, unit_halo, without_small_patches
from pipeline.product.layers import NODATA_CLASS
from pipeline.product.rank_shares import RankShares, share_of

_STRIP = 256  # rows of a cell whose probabilities are smoothed at once


@dataclass(frozen=True, eq=False)
class SmoothedPixels:
    """The classes of a cell after smoothing, and their probabilities, best first.

    Attributes:
        classes: Class values (rank, y, x), nodata where the raw map has none.
        shares: Their probabilities, float (rank, y, x), 0 … 1.
    """

    classes: np.ndarray
    shares: np.ndarray


class Smoothing(Protocol):
    """A way to smooth a map."""

    @property
    def halo(self) -> int:
        """The pixels around a cell that it needs to know."""

    @property
    def facts(self) -> dict[str, Any]:
        """What distinguishes it from others, as JSON values."""

    @property
    def sentence(self) -> str:
        """What it does, for people."""

    def smooth(self, ranks: RankShares, vocabulary: Vocabulary, top_k: int) -> SmoothedPixels:
        """Smooth the inner pixels of a window with `halo` pixels more on each side."""


@dataclass(frozen=True)
class MajoritySmoothing:
    """Each pixel has the most frequent class of a window of `window` × `window` pixels (odd)."""

    window: int

    @property
    def halo(self) -> int:
        """Half a window."""
        return self.window // 2

    @property
    def facts(self) -> dict[str, Any]:
        """The window."""
        return {"method": "majority", "window": self.window}

    @property
    def sentence(self) -> str:
        """What it does, for people."""
        return f"Each pixel then has the majority of {self.window} × {self.window} pixels."

    def smooth(self, ranks: RankShares, vocabulary: Vocabulary, top_k: int) -> SmoothedPixels:
        """The majority, with the probability that the raw map gives it at the pixel itself."""
        classes = majority_of(ranks.classes[0], self.window)
        return _with_raw_shares(classes, ranks, vocabulary, self.halo)


@dataclass(frozen=True)
class UnitSmoothing:
    """Patches smaller than `hectares` give way to what is nearest around them."""

    hectares: float

    @property
    def pixels(self) -> int:
        """The unit in pixels of 100 m²."""
        return max(1, round(self.hectares * 100))

    @property
    def halo(self) -> int:
        """As far as a pixel's class may depend on others."""
        return unit_halo(self.pixels)

    @property
    def facts(self) -> dict[str, Any]:
        """The unit."""
        return {"method": "minimum mapping unit", "hectares": self.hectares}

    @property
    def sentence(self) -> str:
        """What it does, for people."""
        return f"Patches under {self.hectares:g} ha then have the nearest class of larger ones."

    def smooth(self, ranks: RankShares, vocabulary: Vocabulary, top_k: int) -> SmoothedPixels:
        """The map without small patches; probabilities as of `MajoritySmoothing`."""
        classes = without_small_patches(ranks.classes[0], self.pixels, self.halo)
        return _with_raw_shares(classes, ranks, vocabulary, self.halo)


@dataclass(frozen=True)
class BayesianSmoothing:
    """Bayesian smoothing of probabilities (`pipeline.derived.bayes`)."""

    window: int = 7
    smoothness: float = 20.0
    fraction: float = 1.0

    @property
    def halo(self) -> int:
        """Half a window."""
        return self.window // 2

    @property
    def facts(self) -> dict[str, Any]:
        """The parameters."""
        return {
            "method": "bayes",
            "window": self.window,
            "smoothness": self.smoothness,
            "fraction": self.fraction,
        }

    @property
    def sentence(self) -> str:
        """What it does, for people."""
        return (
            f"Probabilities were then smoothed in {self.window} × {self.window} pixels by Bayes's "
            f"rule (variance {self.smoothness:g}, the highest {self.fraction:.0%})."
        )

    def smooth(self, ranks: RankShares, vocabulary: Vocabulary, top_k: int) -> SmoothedPixels:
        """The classes of the highest posterior probabilities, strip by strip."""
        halo, rows = self.halo, ranks.classes.shape[1] - 2 * self.halo
        parts = []
        for top in range(0, rows, _STRIP):
            strip = slice(top, min(top + _STRIP, rows) + 2 * halo)
            part = RankShares(ranks.classes[:, strip], ranks.shares[:, strip], ranks.rest[strip])
            parts.append(self._strip(part, vocabulary, top_k))
        return SmoothedPixels(
            np.concatenate([part.classes for part in parts], axis=1),
            np.concatenate([part.shares for part in parts], axis=1),
        )

    def _strip(self, ranks: RankShares, vocabulary: Vocabulary, top_k: int) -> SmoothedPixels:
        values = np.array([entry.value for entry in vocabulary.legend])
        ranked = np.unique(ranks.classes)
        present = values[np.isin(values, ranked)]
        # Classes that no pixel here ranks are all alike, and none of them can win.
        absent = values[~np.isin(values, ranked)][:1]
        there = ranks.classes[0] != NODATA_CLASS
        posteriors = []
        for value in (*present.tolist(), *absent.tolist()):
            share = share_of(ranks, value, len(values))
            logits = np.where(there, logits_of(share), np.float32(np.nan))
            smoothed = smoothed_logits(logits, self.window, self.smoothness, self.fraction)
            posteriors.append(1 / (1 + np.exp(-smoothed)))
        whole = np.stack(posteriors)
        total = whole[: len(present)].sum(axis=0)
        if len(absent):
            total += (len(values) - len(present)) * whole[-1]
        shares = whole[: len(present)] / total
        kept = min(top_k, len(present))
        order = np.argsort(-shares, axis=0, kind="stable")[:kept]
        classes = present[order].astype(ranks.classes.dtype)
        return SmoothedPixels(classes, np.take_along_axis(shares, order, axis=0))


def _with_raw_shares(
    classes: np.ndarray, ranks: RankShares, vocabulary: Vocabulary, halo: int
) -> SmoothedPixels:
    """Classes (y, x) with the probabilities that the raw map has for them."""
    inner = (slice(halo, halo + classes.shape[0]), slice(halo, halo + classes.shape[1]))
    own = RankShares(ranks.classes[:, *inner], ranks.shares[:, *inner], ranks.rest[inner])
    shares = share_of(own, classes, len(vocabulary.legend))
    return SmoothedPixels(classes[None], shares[None])
