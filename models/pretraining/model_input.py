"""The model's input: a batch on the device, its gaps filled, varied, reduced and augmented."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from models.encoder.preprocessing import Preprocessing
from models.encoder.series_months import fill_gaps, reduce_months
from models.pretraining.augmentation import augment
from models.pretraining.batch import NO_KEY, Batch
from models.pretraining.collectives import Processes
from models.pretraining.ground_pooling import of_view, wording_noise
from models.pretraining.recipe import Recipe
from models.pretraining.row_random import RowDraws, drawn_place
from models.pretraining.variations import Others, vary_series


@dataclass(frozen=True, eq=False)
class Input:
    """n points on the device.

    `series` float32 (n, T, band), normalised; `kept` bool (n, T), or None where all are; `ground`
    float32 (n, k, dim) and `present` bool (n, k): the views that are pooled; `keys` int64 (n,),
    what these depict; `subjects` int64 (n, m), all keys that are or may be true of the points.
    """

    series: torch.Tensor
    kept: torch.Tensor | None
    ground: torch.Tensor
    present: torch.Tensor
    keys: torch.Tensor
    subjects: torch.Tensor


@dataclass(frozen=True, eq=False)
class InputMaker:
    """Makes a process's inputs by a recipe, on its device."""

    recipe: Recipe
    preprocessing: Preprocessing
    processes: Processes
    device: torch.device

    def training(self, batch: Batch, step: int) -> Input:
        """The input of a training step: this process's part of its batch."""
        recipe, first = self.recipe, self.processes.rank * len(batch)
        draws = RowDraws(recipe.seed, step, first, len(batch), self.device)
        months = recipe.months[int(draws.of_step() * len(recipe.months))]
        present = self._on_device(batch.present)
        number = draws.uniform()
        view = drawn_place(present, number) if recipe.views == "drawn" else _first_view(present)
        ground, present, keys, subjects = self._ground(batch, present, view, draws)
        others = Others(keys, first, self.processes.gathered, self.preprocessing.bands)
        series = vary_series(self._series(batch), recipe.variations, draws, others)
        series = self.preprocessing.normalise(reduce_months(series, months))
        if months < self.preprocessing.months or recipe.augmentation == "none":
            return Input(series, None, ground, present, keys, subjects)
        probability, bands = recipe.augmentation_probability, self.preprocessing.bands
        seen = augment(series, recipe.augmentation, probability, bands, draws)
        return Input(seen.series, seen.kept, ground, present, keys, subjects)

    def validation(self, batch: Batch, months: int) -> Input:
        """The input of a validation, in `months` steps; for drawn views, a point's first view."""
        present = self._on_device(batch.present)
        ground, present, keys, subjects = self._ground(batch, present, _first_view(present))
        series = self.preprocessing.normalise(reduce_months(self._series(batch), months))
        return Input(series, None, ground, present, keys, subjects)

    def _ground(
        self,
        batch: Batch,
        present: torch.Tensor,
        view: torch.Tensor,
        draws: RowDraws | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The views to pool, which of them are present, the key of `view`, and all keys.

        With `draws` a drawn view is given the recipe's noise.
        """
        ground = self._on_device(batch.ground).float()
        own = self._on_device(_keys_of_points(batch.ids))
        all_keys = self._on_device(batch.keys)
        keys = of_view(all_keys, view)
        keys = torch.where(keys == NO_KEY, own, keys)
        subjects = torch.cat((all_keys, own[:, None]), dim=1)
        if self.recipe.views == "drawn":
            drawn, most = of_view(ground, view), self.recipe.wording_noise
            if most and draws is not None:
                noise = wording_noise(ground, all_keys, present, most, draws)
                drawn = F.normalize(drawn + noise, dim=-1)
            ground, present = drawn[:, None], of_view(present, view)[:, None]
        return ground, present, keys, subjects

    def _series(self, batch: Batch) -> torch.Tensor:
        return fill_gaps(self._on_device(batch.series.astype(np.float32)))

    def _on_device(self, array: np.ndarray) -> torch.Tensor:
        # A copy of read-only arrays, such as Arrow's, of which torch would warn.
        writeable = array if array.flags.writeable else array.copy()
        return torch.from_numpy(writeable).to(self.device, non_blocking=True)


def _first_view(present: torch.Tensor) -> torch.Tensor:
    return present.int().argmax(dim=1)


def _keys_of_points(ids: Sequence[str]) -> np.ndarray:
    """A key for each point alone, below those that views carry: int64 (n,).

    With it a point without a key is no negative of itself when it comes again, while the bank still
    holds its ground embedding.
    """
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids)
    numbers = np.array([int.from_bytes(digest) >> 2 for digest in digests], np.int64)
    return NO_KEY - 1 - numbers
