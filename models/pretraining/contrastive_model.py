"""The contrastive model: the encoder, the pooling of ground views, and the loss, as one module."""

from typing import Any

import torch
from torch import nn

from models.encoder.series_encoder import SeriesEncoder
from models.pretraining.collectives import Processes
from models.pretraining.ground_pooling import AttentionPooling, MeanPooling
from models.pretraining.losses import InfoNCE, SymmetricInfoNCE
from models.pretraining.memory_bank import MemoryBank
from models.pretraining.model_input import Input
from models.pretraining.recipe import Recipe


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
        loss = InfoNCE if recipe.loss == "memory-bank" else SymmetricInfoNCE
        self.loss: InfoNCE | SymmetricInfoNCE = loss(recipe.temperature, recipe.learned_temperature)
        self._balanced = recipe.balanced_negatives
        self._dtype = getattr(torch, recipe.precision)
        self._processes = processes

    def forward(self, inputs: Input, bank: MemoryBank | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss of this process's rows, and their ground embeddings (n, dim), no gradient.

        `bank` holds the negatives, for the loss that takes them.
        """
        pixels = self.embed(inputs)
        ground = self.pooling(inputs.ground, inputs.present)
        if isinstance(self.loss, SymmetricInfoNCE):
            loss = self.loss(pixels, ground, inputs.keys, inputs.subjects, self._processes)
        else:
            assert bank is not None
            counts = bank.counts() if self._balanced else None
            loss = self.loss(pixels, ground, bank.negatives, bank.same(inputs.subjects), counts)
        return loss, ground.detach()

    def embed(self, inputs: Input) -> torch.Tensor:
        """The pixels' embeddings, float32 (n, dim), of unit length.

        The encoder's products are of the recipe's precision; pooling and losses are of float32.
        """
        is_reduced = self._dtype != torch.float32
        with torch.autocast(inputs.series.device.type, self._dtype, enabled=is_reduced):
            embeddings: torch.Tensor = self.encoder(inputs.series, inputs.kept)
        return embeddings

    def optimiser(self, recipe: Recipe) -> torch.optim.AdamW:
        """AdamW; a learned temperature does not decay, since it should not tend to 0."""
        temperature = [p for p in self.loss.parameters() if p.requires_grad]
        others = [*self.encoder.parameters(), *self.pooling.parameters()]
        groups: list[dict[str, Any]] = [{"params": others, "weight_decay": recipe.weight_decay}]
        if temperature:
            groups.append({"params": temperature, "weight_decay": 0.0})
        return torch.optim.AdamW(groups, lr=recipe.rate)
