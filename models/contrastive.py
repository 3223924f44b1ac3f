"""Contrastive pretraining: InfoNCE against a memory bank, after arXiv 2508.11919."""

import math

import torch
from torch import nn
from torch.nn import functional as F

_MAX_LOG_SCALE = 4.6052  # ln 100: CLIP's limit (Radford et al. 2021), and the authors'
_NO_KEY = -1


class MemoryBank(nn.Module):
    """The last `size` embeddings of the other side, float32 of length `dim`: the negatives.

    A ring buffer that is saved with the state dict. It begins empty, and only what was enqueued
    counts, so no random vectors serve as negatives.
    """

    queue: torch.Tensor
    keys: torch.Tensor
    pointer: torch.Tensor
    filled: torch.Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("queue", torch.zeros(size, dim))
        self.register_buffer("keys", torch.full((size,), _NO_KEY))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @property
    def negatives(self) -> torch.Tensor:
        """What was enqueued and not yet overwritten, (queue, dim); the order carries no meaning."""
        return self.queue[: int(self.filled)]

    def same(self, keys: torch.Tensor) -> torch.Tensor:
        """Which negatives carry the key of each row: bool (batch, queue), for `InfoNCE`.

        `keys` int64 (batch,) says what a positive depicts: its class, or its description.
        """
        return keys[:, None] == self.keys[: int(self.filled)][None, :]

    @torch.no_grad()
    def enqueue(self, embeddings: torch.Tensor, keys: torch.Tensor | None = None) -> None:
        """Put embeddings (n, dim) in, normalised, over the oldest; of more than fit, the last.

        `keys` int64 (n,), 0 or more, say what they depict; without them they are the same as
        nothing.
        """
        size = len(self.queue)
        entries = F.normalize(embeddings.detach()[-size:].to(self.queue), dim=-1)
        places = (self.pointer + torch.arange(len(entries), device=self.queue.device)) % size
        self.queue[places] = entries
        self.keys[places] = _NO_KEY if keys is None else keys[-size:].to(self.keys)
        self.pointer.copy_((self.pointer + len(entries)) % size)
        self.filled.copy_((self.filled + len(entries)).clamp(max=size))


class InfoNCE(nn.Module):
    """Cross-entropy that tells each pixel's own text or photo from a queue of others.

    The temperature is fixed, or with `learned` a log-scale that starts from it and stays within
    0 … 4.6052, as CLIP's.
    """

    log_scale: torch.Tensor

    def __init__(self, temperature: float = 0.07, learned: bool = False) -> None:
        super().__init__()
        log_scale = torch.tensor(math.log(1.0 / temperature))
        if learned:
            self.log_scale = nn.Parameter(log_scale.clamp(0.0, _MAX_LOG_SCALE))
        else:
            self.register_buffer("log_scale", log_scale)

    @property
    def logit_scale(self) -> float:
        """The multiplier of the cosine, 1 / temperature: what a checkpoint's card states."""
        return float(self.log_scale.detach().exp())

    def forward(
        self,
        pixels: torch.Tensor,
        positives: torch.Tensor,
        negatives: torch.Tensor,
        same: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The mean loss of a batch, a scalar.

        `pixels` and `positives` float (batch, dim), row by row a pair; `negatives` float
        (queue, dim). `same` bool (batch, queue) marks negatives that depict what the row's
        positive depicts: they are left out of that row, for they are no negatives. Rows are
        normalised here. Without negatives the loss is 0.
        """
        if isinstance(self.log_scale, nn.Parameter):
            # The value itself is held, not its use: a clamp in the graph would end its gradient.
            self.log_scale.data.clamp_(0.0, _MAX_LOG_SCALE)
        pixels, positives, negatives = (
            F.normalize(side.float(), dim=-1) for side in (pixels, positives, negatives)
        )
        own = (pixels * positives).sum(dim=-1, keepdim=True)
        others = pixels @ negatives.T
        if same is not None:
            others = others.masked_fill(same, -math.inf)
        logits = torch.cat((own, others), dim=1) * self.log_scale.exp()
        target = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
        return F.cross_entropy(logits, target)
