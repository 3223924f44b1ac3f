"""What is trained, as one module: the encoder, the pooling of ground views, and the loss."""

from contextlib import AbstractContextManager

import torch
from torch import nn

from models.encoder.series_encoder import SeriesEncoder
from models.pretraining.collectives import Processes
from models.pretraining.ground_pooling import AttentionPooling, MeanPooling
from models.pretraining.losses import InfoNCE, SymmetricInfoNCE
from models.pretraining.memory_bank import MemoryBank
from models.pretraining.model_input import Input
from models.pretraining.recipe import Recipe

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class ContrastiveModel(nn.Module):
    """Batches of pixels and their ground views → the recipe's loss.

    All that has gradients is inside, so that DistributedDataParallel averages them all.
    """

    def __init__(self, recipe: Recipe, encoder: SeriesEncoder, processes: Processes) -> None:
        super().__init__()
        self.encoder = encoder
        dim = encoder.architecture.embedding_dim
        self.pooling = (
            MeanPooling()
            if recipe.pooling == "mean"
            else AttentionPooling(dim, per_dimension=recipe.pooling == "attention-dimension")
        )
        made = InfoNCE if recipe.loss == "memory-bank" else SymmetricInfoNCE
        self.loss: InfoNCE | SymmetricInfoNCE = made(recipe.temperature, recipe.learned_temperature)
        self._balanced = recipe.balanced_negatives
        self._dtype = _DTYPES[recipe.precision]
        self._processes = processes

    def forward(self, given: Input, bank: MemoryBank | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss of this process's rows, and their ground embeddings (n, dim), no gradient.

        `bank` holds the negatives, for the loss that takes them.
        """
        pixels = self.embedded(given)
        ground = self.pooling(given.ground, given.present)
        if isinstance(self.loss, SymmetricInfoNCE):
            loss = self.loss(pixels, ground, given.keys, self._processes)
        else:
            assert bank is not None
            counts = bank.counts() if self._balanced else None
            loss = self.loss(pixels, ground, bank.negatives, bank.same(given.keys), counts)
        return loss, ground.detach()

    def embedded(self, given: Input) -> torch.Tensor:
        """The pixels' embeddings, float32 (n, dim), of unit length.

        The encoder's products are of the recipe's precision; pooling and losses are of float32.
        """
        with self._autocast(given.series.device):
            embeddings: torch.Tensor = self.encoder(given.series, given.kept)
        return embeddings

    def _autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return torch.autocast(device.type, self._dtype, enabled=self._dtype != torch.float32)
