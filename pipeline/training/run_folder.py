"""The folder of a training: its settings, its saved states, and the metrics so far."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import safetensors.torch
import torch

from models.pretraining.state import TrainingState, last_state, save_state
from pipeline.errors import OutputError
from pipeline.io.fingerprint import differences
from pipeline.io.store import Store, public_url

FACTS = "training.json"
METRICS = "metrics.jsonl"
_STATES, _BEST = "states", "best"
_JOURNAL = "journal"


@dataclass(frozen=True)
class Journal:
    """What was measured so far.

    `steps`: now and then the means since the last time: `step` (how many were done), `loss`,
    `gradient_norm`, `rate`, `temperature`, `seconds`, `points_per_second`. `validations`: `step`,
    and by "T=12" and so on what `models.pretraining.trainer.Pretraining.validate` gives. `best`:
    the step of the validation of the lowest loss, `best_loss`; `worse`: how many came since.
    `sessions`: each start of the processes, `from_step`, with what they ran on.
    """

    steps: tuple[Mapping[str, float], ...] = ()
    validations: tuple[Mapping[str, Any], ...] = ()
    sessions: tuple[Mapping[str, Any], ...] = ()
    best: int | None = None
    best_loss: float | None = None
    worse: int = 0

    def begun(self, session: Mapping[str, Any]) -> "Journal":
        """With a start of the processes."""
        return replace(self, sessions=(*self.sessions, session))

    def stepped(self, entry: Mapping[str, float]) -> "Journal":
        """With means of some steps."""
        return replace(self, steps=(*self.steps, entry))

    def validated(self, step: int, found: Mapping[str, Mapping[str, float]]) -> "Journal":
        """With a validation, of which the first series' length decides."""
        more = replace(self, validations=(*self.validations, {"step": step, **found}))
        loss = next(iter(found.values()))["loss"]
        if self.best_loss is None or loss < self.best_loss:
            return replace(more, best=step, best_loss=loss, worse=0)
        return replace(more, worse=self.worse + 1)

    @property
    def seconds(self) -> float:
        """Seconds of training; those of starts and of validations are left out."""
        return sum(entry["seconds"] for entry in self.steps)

    def lines(self) -> bytes:
        """All measures as lines of JSON, those of validations with the T they are of."""
        entries = sorted((*self.steps, *self.validations), key=lambda entry: entry["step"])
        return "".join(json.dumps(entry) + "\n" for entry in entries).encode()

    @classmethod
    def of_lines(cls, lines: bytes) -> "Journal":
        """The steps and validations of such lines."""
        entries = [json.loads(line) for line in lines.splitlines()]
        return cls(
            tuple(entry for entry in entries if "loss" in entry),
            tuple(entry for entry in entries if "loss" not in entry),
        )

    @classmethod
    def of_state(cls, state: TrainingState) -> "Journal":
        """The journal that a state holds."""
        raw = dict(state.facts[_JOURNAL])
        for name in ("steps", "validations", "sessions"):
            raw[name] = tuple(raw[name])
        return cls(**raw)


@dataclass(frozen=True)
class TrainingRun:
    """A training's folder or `s3://` prefix."""

    store: Store
    states: Store = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", Store(self.store.path(_STATES)))

    def open(self, facts: Mapping[str, Any]) -> None:
        """Begin a training of these facts here, or go on with it.

        Raises OutputError where the folder holds a training of others, or is a file.
        """
        given = public_url(self.store.root)
        if self.store.is_file():
            raise OutputError(given, "it is a file", "Give a folder or s3://bucket/prefix")
        if not self.store.exists(FACTS):
            self.store.write(FACTS, json.dumps(facts, indent=1, ensure_ascii=False).encode())
            return
        try:
            held = json.loads(self.store.read(FACTS))
        except ValueError:
            raise OutputError(given, f"its {FACTS} is damaged", "Give another --run") from None
        if differing := differences(held, facts):
            raise OutputError(
                given,
                f"it holds another training ({'; '.join(differing)})",
                "Give the same settings to go on with that, or another --run to begin anew",
            )

    def save(self, state: TrainingState, journal: Journal, keep: int) -> None:
        """Save where the training stands; the former states stay where that cannot be written."""
        facts = {**state.facts, _JOURNAL: asdict(journal)}
        save_state(self.states, replace(state, facts=facts), keep)
        self.store.write(METRICS, journal.lines())
        for key in list(self.store.keys(_BEST)):
            if key != _best(journal.best):
                self.store.remove(key)

    def last(self) -> tuple[TrainingState, Journal] | None:
        """Where the training stood last, if anything was saved."""
        state = last_state(self.states)
        return None if state is None else (state, Journal.of_state(state))

    def journal(self) -> Journal:
        """What was measured until the last state was saved, sessions left out."""
        if not self.store.exists(METRICS):
            return Journal()
        return Journal.of_lines(self.store.read(METRICS))

    def save_best(self, step: int, model: Mapping[str, torch.Tensor]) -> None:
        """Keep tensors, by a state's names, as those of the lowest loss."""
        kept = {name: tensor.contiguous() for name, tensor in model.items()}
        self.store.write(_best(step), safetensors.torch.save(kept))

    def best(self, step: int) -> dict[str, torch.Tensor]:
        """The tensors that `save_best` kept of a step."""
        return safetensors.torch.load(self.store.read(_best(step)))


def _best(step: int | None) -> str:
    return f"{_BEST}/step-{step or 0:09d}.safetensors"
