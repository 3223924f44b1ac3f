"""The folder of a training: the facts that determine it, its saved states, and its journal."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import safetensors.torch
import torch

from models.files.json_text import parse_json
from models.pretraining.state import TrainingState, last_state, save_state, tensors_of_bytes
from pipeline.errors import OutputError, OwnershipLost
from pipeline.io.fingerprint import differences
from pipeline.io.store import Store, public_url
from pipeline.training.journal import Journal

FACTS = "training.json"
METRICS = "metrics.jsonl"
_STATES, _BEST = "states", "best"
_JOURNAL = "journal"


@dataclass(frozen=True)
class TrainingRun:
    """A training's folder or `s3://` prefix."""

    store: Store
    states: Store = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", Store(self.store.path(_STATES)))

    def open(self, facts: Mapping[str, Any]) -> None:
        """Begin a training of these facts here, or resume it.

        Raises:
            OutputError: The folder holds a training of other facts, or is a file.
        """
        folder = public_url(self.store.root)
        if self.store.is_file():
            raise OutputError(folder, "it is a file", "Give a folder or s3://bucket/prefix")
        described = json.dumps(facts, indent=1, ensure_ascii=False).encode()
        # Of several processes, one begins a training; the others see what it has written.
        if not self.store.exists(FACTS) and self.store.create(FACTS, described):
            return
        self.store.remove_abandoned_parts()
        try:
            held = parse_json(self.store.read(FACTS))
        except ValueError:
            raise OutputError(folder, f"its {FACTS} is damaged", "Give another --run") from None
        if differing := differences(held, facts):
            raise OutputError(
                folder,
                f"it holds another training ({'; '.join(differing)})",
                "Give the same settings to go on with that, or another --run to begin anew",
            )

    def save(self, state: TrainingState, journal: Journal, keep: int) -> None:
        """Save a state; where that fails, the former states stay.

        Raises OwnershipLost where the training's folder was removed meanwhile.
        """
        self._require_held()
        facts = {**state.facts, _JOURNAL: asdict(journal)}
        save_state(self.states, replace(state, facts=facts), keep)
        self.store.write(METRICS, journal.lines())
        for key in list(self.store.keys(_BEST)):
            if key != _best(journal.best):
                self.store.remove(key)

    def last(self) -> tuple[TrainingState, Journal] | None:
        """The last state, if any was saved."""
        state = last_state(self.states)
        if state is None:
            return None
        try:
            return state, Journal.of_json(state.facts[_JOURNAL])
        except (KeyError, TypeError, AttributeError):
            raise OutputError(
                public_url(self.store.root),
                f"its state of step {state.step} has no journal",
                "Give another --run",
            ) from None

    def journal(self) -> Journal:
        """The measures until the last state was saved, without sessions."""
        if not self.store.exists(METRICS):
            return Journal()
        return Journal.of_lines(self.store.read(METRICS))

    def save_best(self, step: int, model: Mapping[str, torch.Tensor]) -> None:
        """Keep tensors, named as in a state, as those of the lowest loss; raises as `save`."""
        self._require_held()
        kept = {name: tensor.contiguous() for name, tensor in model.items()}
        self.store.write(_best(step), safetensors.torch.save(kept))

    def best(self, step: int) -> dict[str, torch.Tensor]:
        """The tensors that `save_best` kept of a step; raises PretrainingError if damaged."""
        key = _best(step)
        return tensors_of_bytes(self.store.read(key), public_url(self.store.path(key)))

    def _require_held(self) -> None:
        if not self.store.exists(FACTS):
            raise OwnershipLost(
                public_url(self.store.root),
                f"its {FACTS} has gone: somebody removed or emptied the folder while the training "
                "went on",
                "Nothing more was saved. Start again to train anew",
            )


def _best(step: int | None) -> str:
    return f"{_BEST}/step-{step or 0:09d}.safetensors"
