"""A GPU for each worker process of this machine, and the resource that says which of them encode.

Its own card is the only one that a process sees, as under dask-cuda. There is one encoding process
for each card: the first ones. Others share the cards for what else they may compute on a GPU.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Worker

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def cards_at_hand() -> int:
    """The GPUs that this process sees, which are counted without being touched."""
    import torch

    return torch.cuda.device_count()


def visible_cards(cards: int) -> list[str]:
    """The names of this process's GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    visible = os.environ.get(_VISIBLE)
    names = visible.split(",") if visible else [str(card) for card in range(cards)]
    return [name.strip() for name in names]


def preload(cards: int) -> str:
    """The program that a worker runs as it starts, on a machine of so many GPUs, 1 or more."""
    return (
        "from pipeline.clusters.own_card import take_card\n"
        f"def dask_setup(worker): take_card(worker, {cards})\n"
    )


def take_card(worker: "Worker", cards: int) -> None:
    """Leave a worker of a number one card of so many; offer the resource "GPU" if it has its own.

    It runs before the worker registers with its scheduler and before anything uses a GPU.
    """
    number = int(worker.name)
    os.environ[_VISIBLE] = visible_cards(cards)[number % cards]
    if number < cards:
        worker.state.total_resources["GPU"] = 1.0
        worker.state.available_resources["GPU"] = 1.0
