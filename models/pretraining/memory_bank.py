"""The memory bank of contrastive training: earlier embeddings that serve as negatives."""

import torch
from torch import nn
from torch.nn import functional as F

from models.pretraining.batch import NO_KEY


def depict_the_same(keys: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Which of `others` carry the key of each row, or one of its keys: bool (n, m).

    `keys` is int64 (n,) or (n, k), and `others` int64 (m,). NO_KEY equals no key, not even itself.
    """
    # Equal keys are compared once: a bank of thousands holds a hundred. Column by column, so that
    # memory does not grow with their number.
    distinct, place = others.unique(return_inverse=True)
    same = torch.zeros(len(keys), len(distinct), dtype=torch.bool, device=keys.device)
    for column in keys.reshape(len(keys), -1).unbind(1):
        same |= (column[:, None] == distinct) & (column[:, None] != NO_KEY)
    return same[:, place]


class MemoryBank(nn.Module):
    """The last `size` ground embeddings, float32 of length `dim`: the negatives.

    It is a ring buffer that is saved with the state dict. It begins empty, so no random vectors
    serve as negatives.
    """

    queue: torch.Tensor
    keys: torch.Tensor
    pointer: torch.Tensor
    filled: torch.Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("queue", torch.zeros(size, dim))
        self.register_buffer("keys", torch.full((size,), NO_KEY))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @property
    def negatives(self) -> torch.Tensor:
        """The embeddings that are held, (queue, dim), in no meaningful order."""
        return self.queue[: int(self.filled)]

    def same(self, keys: torch.Tensor) -> torch.Tensor:
        """Which negatives carry a key of each row: bool (batch, queue), of int64 (batch, k)."""
        return depict_the_same(keys, self.keys[: int(self.filled)])

    def counts(self) -> torch.Tensor:
        """How many negatives depict the same as each, itself included: float32 (queue,)."""
        keys = self.keys[: int(self.filled)]
        _, number, found = keys.unique(return_inverse=True, return_counts=True)
        return torch.where(keys == NO_KEY, 1, found[number]).float()

    @torch.no_grad()
    def enqueue(self, embeddings: torch.Tensor, keys: torch.Tensor | None = None) -> None:
        """Replace the oldest embeddings by these, (n, dim), normalised; of too many, by the last.

        `keys`, int64 (n,), say what they depict; without them each gets NO_KEY.
        """
        size = len(self.queue)
        entries = F.normalize(embeddings.detach()[-size:].to(self.queue), dim=-1)
        places = (self.pointer + torch.arange(len(entries), device=self.queue.device)) % size
        self.queue[places] = entries
        self.keys[places] = NO_KEY if keys is None else keys[-size:].to(self.keys)
        self.pointer.copy_((self.pointer + len(entries)) % size)
        self.filled.copy_((self.filled + len(entries)).clamp(max=size))
