"""Collective operations of a training's processes; a single process exchanges nothing."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_gather


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `world`; the process group is torch.distributed's."""

    rank: int = 0
    world: int = 1

    def gathered(self, part: torch.Tensor) -> torch.Tensor:
        """All processes' parts (n, …) of one shape, by rank: (world · n, …), without gradient."""
        if self.world == 1:
            return part.detach()
        parts = [torch.empty_like(part) for _ in range(self.world)]
        dist.all_gather(parts, part.detach().contiguous())
        return torch.cat(parts)

    def gathered_unequal(self, part: torch.Tensor) -> torch.Tensor:
        """The same where processes have different numbers of rows."""
        if self.world == 1:
            return part
        counts = self.gathered(torch.tensor([len(part)], device=part.device)).tolist()
        padded = part.new_zeros(max(counts), *part.shape[1:])
        padded[: len(part)] = part
        parts = self.gathered(padded[None])
        return torch.cat([one[:count] for one, count in zip(parts, counts, strict=True)])

    def gathered_with_gradient(self, part: torch.Tensor) -> torch.Tensor:
        """As `gathered`, and the gradient of every process's loss reaches the part's process."""
        if self.world == 1:
            return part
        return torch.cat(all_gather(part.contiguous()))

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over the processes, without gradient."""
        return self.sum(value) / self.world

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, without gradient."""
        total = value.detach().clone()
        if self.world > 1:
            dist.all_reduce(total)
        return total
