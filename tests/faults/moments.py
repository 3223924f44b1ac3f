"""Moments of a run, as one sees them in its folder, at which a fault strikes."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.commands import Command
from tests.faults.places import Folder, Place

_LONGEST_DELAY = 0.3
_WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Moment:
    """A moment: what has come about, by the names of the files, and so many seconds later."""

    name: str
    has_come: Callable[[set[str]], bool]
    delay: float

    def __str__(self) -> str:
        return f"{self.delay:.2f} s after {self.name}"

    def wait(self, command: Command, place: Place) -> bool:
        """Wait for the moment; False where the command ended, or it did not come."""
        until = time.monotonic() + _WAIT_SECONDS
        pause = 0.004 if isinstance(place, Folder) else 0.03
        while not self._is_there(place):
            if command.ended.wait(pause) or time.monotonic() > until:
                return False
        return not command.ended.wait(self.delay)

    def _is_there(self, place: Place) -> bool:
        return self.name == START or self.has_come(place.names())


START = "the start"


def finished_cells(number: int) -> Callable[[set[str]], bool]:
    """Whether so many cells have their item."""
    return lambda names: sum(name.endswith("/item.json") for name in names) >= number


def has(file: str) -> Callable[[set[str]], bool]:
    """Whether a file of this name is there."""
    return lambda names: file in names


def half_written(names: set[str]) -> bool:
    """Whether a cell has a raster and no item."""
    cells = {name.rpartition("/")[0] for name in names if name.endswith(".tif")}
    return any(f"{cell}/item.json" not in names for cell in cells)


def has_saved(step: int) -> Callable[[set[str]], bool]:
    """Whether a training has saved the state of a step."""
    return lambda names: any(f"state-{step:09}" in name for name in names)


def moment_of_map(draw: random.Random, least: str = "") -> Moment:
    """A moment of a map; with least = "run.json", none before that is written."""
    cells = draw.randrange(7)
    moments = [
        (START, lambda names: True, draw.uniform(0.1, 3.0)),
        ("the vocabulary", has("vocabulary.json"), 0.0),
        ("the text embeddings", has("text.safetensors"), 0.0),
        ("the list of items", has("items.parquet"), 0.0),
        ("run.json", has("run.json"), draw.uniform(0, 0.5)),
        (f"{cells} cells", finished_cells(cells), draw.uniform(0, _LONGEST_DELAY)),
        (f"{cells} cells", finished_cells(cells), 0.0),
        ("a cell that is half written", half_written, 0.0),
        ("the collection", has("collection.json"), draw.uniform(0, _LONGEST_DELAY)),
        ("the mosaic", has("class.vrt"), draw.uniform(0, _LONGEST_DELAY)),
        ("the preview", has("preview.png"), 0.0),
        ("the report", has("report.html"), draw.uniform(0, _LONGEST_DELAY)),
    ]
    return Moment(*draw.choice(moments[4:] if least == "run.json" else moments))


def moment_of_plan(draw: random.Random) -> Moment:
    """A moment of a plan."""
    moments = [
        (START, lambda names: True, draw.uniform(0.05, 1.5)),
        ("the vocabulary", has("vocabulary.json"), 0.0),
        ("the text embeddings", has("text.safetensors"), 0.0),
        ("the list of items", has("items.parquet"), 0.0),
        ("the plan", has("plan/plan.json"), 0.0),
    ]
    return Moment(*draw.choice(moments))


def moment_of_training(draw: random.Random) -> Moment:
    """A moment of a pretraining, whose states are seen in the folder beside the checkpoint."""
    step = draw.choice((5, 10, 15, 20, 25, 30))
    moments = [
        (START, lambda names: True, draw.uniform(0.5, 8.0)),
        (f"step {step}", has_saved(step), draw.uniform(0, 0.1)),
        (f"step {step}", has_saved(step), 0.0),
    ]
    return Moment(*draw.choice(moments))
