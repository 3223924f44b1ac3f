"""States of a training: saved whole or not at all, the last few kept. No pickles."""

import json
import logging
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import safetensors.torch
import torch
from safetensors import SafetensorError

from models.errors import PretrainingError
from models.files.json_text import parse_json
from models.files.regular_file import DamagedFile
from models.files.tensor_file import stored_tensors

MODEL, AVERAGE = "model", "average"
"""The parts of a state that hold the model as it is trained, and with averaged weights."""

_FACTS = "facts"
_NAME = "state-{:09d}.safetensors"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainingState:
    """A training after `step` steps: tensors (on the CPU) by name, and facts that JSON can hold.

    A flow may add facts of its own.
    """

    step: int
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]

    @classmethod
    def of_parts(
        cls, step: int, parts: Mapping[str, Mapping[str, torch.Tensor]], facts: Mapping[str, Any]
    ) -> "TrainingState":
        """A state of named state dicts, whose tensors are copied."""
        tensors = {
            f"{part}.{name}": tensor.detach().to("cpu", copy=True)
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        return cls(step, tensors, facts)

    def parts(self) -> dict[str, dict[str, torch.Tensor]]:
        """The named state dicts; their tensors are copies."""
        found: dict[str, dict[str, torch.Tensor]] = {}
        for full, tensor in self.tensors.items():
            part, _, name = full.partition(".")
            found.setdefault(part, {})[name] = tensor.clone()
        return found

    def to_bytes(self) -> bytes:
        """The state as a safetensors file, with the facts in its header."""
        facts = json.dumps({"step": self.step, **self.facts})
        return safetensors.torch.save(dict(self.tensors), {_FACTS: facts})

    @classmethod
    def of_bytes(cls, content: bytes, where: str) -> "TrainingState":
        """Read such a file's content; raises PretrainingError, which names `where`, if damaged."""
        try:
            tensors = tensors_of_bytes(content, where)
            (length,) = struct.unpack("<Q", content[:8])
            header = parse_json(content[8 : 8 + length])
            facts = parse_json(header["__metadata__"][_FACTS])
            step = facts.pop("step")
            if type(step) is not int or step < 0:
                raise DamagedFile(f"its step is {step!r:.20}")
        except PretrainingError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _damaged(where, error) from None
        return cls(step, tensors, facts)


def tensors_of_bytes(content: bytes, where: str) -> dict[str, torch.Tensor]:
    """The tensors of a file's content; raises PretrainingError, which names `where`, if damaged."""
    try:
        stored_tensors(content)
        found: dict[str, torch.Tensor] = safetensors.torch.load(content)
    except (SafetensorError, DamagedFile, KeyError) as error:
        raise _damaged(where, error) from None
    return found


def _damaged(where: str, reason: object) -> PretrainingError:
    return PretrainingError(
        where, f"not a training's state, or damaged ({reason})", "Remove it, or start anew"
    )


class StateStore(Protocol):
    """A place for states, such as `pipeline.io.store.Store`. Writes are whole or not at all."""

    def write(self, key: str, content: bytes) -> None:
        """Write the bytes under the key."""

    def read(self, key: str) -> bytes:
        """The bytes of a key."""

    def remove(self, key: str) -> None:
        """Remove a key."""

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys."""


def save_state(store: StateStore, state: TrainingState, keep: int = 3) -> str:
    """Write a state, then remove all but the last `keep`; returns its key.

    Where the storage raises an error, the former states are as they were.
    """
    key = _NAME.format(state.step)
    store.write(key, state.to_bytes())
    saved = saved_states(store)
    number = saved.index(key) + 1  # later ones are damaged, or of a run that was given up
    for other in saved[: max(0, number - keep)] + saved[number:]:
        store.remove(other)
    return key


def saved_states(store: StateStore) -> list[str]:
    """The keys of the states that are saved, oldest first."""
    keys = store.keys("")
    return sorted(key for key in keys if key.startswith("state-") and key.endswith("tensors"))


def last_state(store: StateStore) -> TrainingState | None:
    """The last state that can be read; None where none was saved.

    A damaged one is skipped with a warning; where all are damaged, PretrainingError is raised.
    """
    failure = None
    for key in reversed(saved_states(store)):
        try:
            return TrainingState.of_bytes(store.read(key), key)
        except PretrainingError as error:
            _log.warning("%s The state before it is used.", error)
            failure = error
    if failure:
        raise failure
    return None
