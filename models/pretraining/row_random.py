"""Random numbers for the rows of a step: the same whichever process draws them, in any order."""

import math

import numpy as np
import torch

_PER_COUNT = 4  # numbers that Philox makes of one value of its counter


class RowDraws:
    """Random numbers for `count` rows of a step's batch, from row `first` of it on.

    They depend on the seed, the step, the row's number in the whole batch, and the number of draws
    before, not on how the batch is divided among processes: Philox is a function of a counter
    (Salmon et al. 2011), so each row has counters of its own.
    """

    def __init__(
        self, seed: int, step: int, first: int, count: int, device: torch.device | str = "cpu"
    ) -> None:
        self._seed, self._step, self._first, self._count = seed, step, first, count
        self._device = device
        self._drawn = 0

    def uniform(self, *shape: int) -> torch.Tensor:
        """Numbers of [0, 1): float32 (count, *shape)."""
        return self._uniform(*shape).to(self._device, torch.float32, non_blocking=True)

    def normal(self, *shape: int) -> torch.Tensor:
        """Numbers of mean 0 and standard deviation 1: float32 (count, *shape)."""
        radius, angle = self._uniform(2, *shape).unbind(1)  # Box and Muller 1958
        drawn = (-2 * (1 - radius).log()).sqrt() * (2 * math.pi * angle).cos()
        return drawn.to(self._device, torch.float32, non_blocking=True)

    def chance(self, probability: float) -> torch.Tensor:
        """True with this probability, for each row: bool (count,)."""
        return self.uniform() < probability

    def of_step(self) -> float:
        """One number of [0, 1) that all rows of the step share."""
        return float(self._generator().random())

    def _uniform(self, *shape: int) -> torch.Tensor:
        numbers = math.prod(shape)
        counts = -(-numbers // _PER_COUNT)
        generator = self._generator(self._first * counts)
        drawn = generator.random((self._count, counts * _PER_COUNT), dtype=np.float64)[:, :numbers]
        # Rounded down to float32's spacing, so that 1 is never reached.
        coarse = np.floor(drawn * 2**24) / 2**24
        return torch.from_numpy(coarse.reshape(self._count, *shape))

    def _generator(self, counts: int = 0) -> np.random.Generator:
        entropy = np.random.SeedSequence([self._seed, self._step, self._drawn])
        self._drawn += 1
        philox = np.random.Philox(key=entropy.generate_state(2, np.uint64))
        return np.random.Generator(philox.advance(counts))


def drawn_place(choices: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """The place of one of each row's choices, all equally probable: int64 (n,).

    `choices` is bool (n, m), and `number` float (n,) in [0, 1). A row without a choice gets 0.
    """
    count = choices.sum(dim=1)
    nth = (number * count).long().clamp(max=count - 1)
    return (choices.cumsum(dim=1) == nth[:, None] + 1).int().argmax(dim=1)
