"""States last: whole or not at all, the last few, whatever happens while one is written."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from models.errors import PretrainingError
from models.pretraining.state import TrainingState, last_state, save_state, saved_states
from pipeline.io.store import Store


def state_of(step: int) -> TrainingState:
    weights = torch.randn(300, 100, generator=torch.Generator().manual_seed(step))
    parts = {"model": {"weight": weights, "scale": torch.tensor(2.5)}, "bank": {}}
    return TrainingState.of_parts(step, parts, {"flow": {"best": 0.1 + 0.2, "names": ["é"]}})


def same(one: TrainingState, other: TrainingState | None) -> bool:
    return other is not None and one.to_bytes() == other.to_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "states"))


def test_a_state_is_read_as_it_was_written(store: Store) -> None:
    assert last_state(store) is None
    save_state(store, state_of(7))
    found = last_state(store)
    assert found is not None
    assert found.step == 7
    assert found.facts == {"flow": {"best": 0.1 + 0.2, "names": ["é"]}}
    assert found.parts()["model"]["scale"].shape == ()
    assert torch.equal(found.tensors["model.weight"], state_of(7).tensors["model.weight"])


def test_the_last_few_are_kept(store: Store) -> None:
    for step in (8, 9, 10, 100, 1000):
        save_state(store, state_of(step), keep=2)
    assert saved_states(store) == ["state-000000100.safetensors", "state-000001000.safetensors"]
    save_state(store, state_of(1000), keep=1)
    assert saved_states(store) == ["state-000001000.safetensors"]


def test_states_of_another_way_are_removed(store: Store) -> None:
    for step in (10, 20, 30):
        save_state(store, state_of(step))
    save_state(store, state_of(15))
    assert same(state_of(15), last_state(store))
    assert len(saved_states(store)) == 2


@pytest.mark.parametrize("content", [b"", b"nonsense", None], ids=["empty", "other", "cut"])
def test_a_damaged_state_is_passed_over(
    store: Store, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    save_state(store, state_of(1))
    key = save_state(store, state_of(2))
    store.write(key, store.read(key)[:-50] if content is None else content)
    assert same(state_of(1), last_state(store))
    assert "state-000000002.safetensors: not a training's state, or damaged" in caplog.text
    store.write(saved_states(store)[0], b"x")
    with pytest.raises(PretrainingError, match="state-000000001"):
        last_state(store)


def of_facts(facts: str) -> bytes:
    return safetensors.torch.save({"model.weight": torch.zeros(3)}, {"facts": facts})


def of_header(header: bytes, numbers: int = 0) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(numbers)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 10**11) + b"{}",
        of_header(b"[" * 100_000),
        of_header(b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4]}}', 4),
        of_facts("5"),
        of_facts("[]"),
        of_facts('{"step": "7"}'),
        of_facts('{"step": -1}'),
        of_facts("[" * 100_000),
        safetensors.torch.save({"model.weight": torch.zeros(3)}),
    ],
)
def test_what_is_no_state_is_refused_at_once(content: bytes) -> None:
    start = time.process_time()
    with pytest.raises(PretrainingError, match="here: not a training's state, or damaged"):
        TrainingState.of_bytes(content, "here")
    assert time.process_time() - start < 1


FULL = """
import resource, sys
from models.pretraining.state import save_state
from pipeline.errors import OutputUnwritable
from pipeline.io.store import Store
from tests.models.pretraining.test_state import state_of
store = Store(sys.argv[1])
save_state(store, state_of(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    save_state(store, state_of(2), keep=1)
except OutputUnwritable as error:
    print(error)
"""


def test_a_full_disk_leaves_the_former(store: Store) -> None:
    """A limit on the size of files stands for the full disk: the kernel refuses the write."""
    ran = subprocess.run(
        [sys.executable, "-c", FULL, store.root], capture_output=True, text=True, check=True
    )
    assert "free some space" in ran.stdout
    assert same(state_of(1), last_state(store))
    assert [path.name for path in Path(store.root).iterdir()] == ["state-000000001.safetensors"]


ENDLESS = """
import itertools, sys
from models.pretraining.state import save_state
from pipeline.io.store import Store
from tests.models.pretraining.test_state import state_of
for step in itertools.count(1):
    save_state(Store(sys.argv[1]), state_of(step), keep=2)
    print(step, flush=True)
"""


def test_a_killed_process_leaves_whole_states(store: Store) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, store.root], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 20:
                os.kill(process.pid, signal.SIGKILL)
                break
    found = last_state(store)
    assert found is not None
    assert found.step >= 20
    assert same(state_of(found.step), found)
    for key in saved_states(store):  # not only the last
        TrainingState.of_bytes(store.read(key), key)
