"""What real processes of one training do together (gloo, on the CPU)."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import set_forkserver_preload
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from models.encoder.preprocessing import AUTHORS
from models.errors import PretrainingError
from models.pretraining.batch import NO_KEY, Batch
from models.pretraining.collectives import Processes
from models.pretraining.losses import SymmetricInfoNCE
from models.pretraining.recipe import Recipe
from models.pretraining.state import last_state, save_state
from models.pretraining.trainer import Pretraining
from models.pretraining.validation import Embedded, validation_measures
from pipeline.io.store import Store
from tests.models.made_points import SIZES, batch_of_step, made_points, rows_of

set_forkserver_preload(
    ["models.pretraining.trainer"]
)  # torch is imported once, not in each process

CPU = torch.device("cpu")
STEPS = 8
RECIPES = {
    "bank": {
        "pooling": "attention-dimension",
        "learned_temperature": True,
        "augmentation": "TSMixAug",
        "variations": [{"name": n} for n in ("reflectance", "another-year", "lost-months")],
    },
    "in-batch": {
        "loss": "in-batch",
        "views": "drawn",
        "augmentation": "TSMS",
        "variations": [{"name": "shifted-calendar"}],
        "months": [12, 1],
    },
}


def points() -> Batch:
    made = made_points(24)
    keys = np.where(np.arange(24) % 3 == 0, NO_KEY, np.arange(24) % 6)
    return replace(made, keys=np.repeat(keys[:, None], 3, axis=1))


def recipe_of(name: str, batch: int = 12) -> Recipe:
    fields = {"batch": batch, "memory_bank": 24, "steps": STEPS, "rate": 3e-3, "steepest": 2.0}
    return Recipe.model_validate(fields | RECIPES[name])


def process(rank: int, world: int, folder: str, work: Callable[..., Any], *arguments: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world)
    try:
        torch.save(work(Processes(rank, world), *arguments), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def of_processes(world: int, folder: Path, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(processes, *arguments)` gives in each of `world` real processes."""
    folder.mkdir()
    all_arguments = (world, str(folder), work, *arguments)
    mp.start_processes(process, all_arguments, nprocs=world, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


def training_of(processes: Processes, recipe: Recipe) -> Pretraining:
    rank, world = processes.rank, processes.world
    return Pretraining(recipe, AUTHORS, SIZES, CPU, rank=rank, world=world)


def steps_done(
    training: Pretraining, processes: Processes, steps: int
) -> list[tuple[float, float]]:
    """(loss, gradient norm) of each step up to number `steps`."""
    done = []
    for step in range(training.steps_done, steps):
        batch = batch_of_step(
            points(), training.recipe.batch, step, processes.rank, processes.world
        )
        report = training.step(batch)
        done.append((report.loss, report.gradient_norm))
    return done


def trained(processes: Processes, name: str) -> dict[str, Any]:
    training = training_of(processes, recipe_of(name))
    reports = steps_done(training, processes, STEPS)
    own = np.array_split(np.arange(24), [10] if processes.world > 1 else [])  # unequal parts
    state = training.state()
    return {
        "reports": reports,
        "validated": training.validate([rows_of(points(), own[processes.rank])]),
        "bank": state.parts().get("bank", {}),
        "state": torch.frombuffer(bytearray(state.to_bytes()), dtype=torch.uint8),
    }


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_lose_what_one_with_the_doubled_batch_does(name: str, tmp_path: Path) -> None:
    alone = trained(Processes(), name)
    first, second = of_processes(2, tmp_path / "two", trained, name)
    assert np.abs(np.array(first["reports"]) - alone["reports"]).max() < 1e-4
    assert np.abs(np.array(first["reports"])[:3] - alone["reports"][:3]).max() < 1e-5
    assert np.array(alone["reports"])[1:].min() > 0.1
    assert first["validated"] == pytest.approx(alone["validated"], abs=1e-3)
    # Every process holds the same weights and the same queue, in the order of one process.
    assert torch.equal(first["state"], second["state"])
    assert first["reports"] == second["reports"]
    if name == "bank":
        assert torch.equal(first["bank"]["keys"], alone["bank"]["keys"])
        assert (first["bank"]["queue"] - alone["bank"]["queue"]).abs().max() < 1e-4


def losses_and_gradients(processes: Processes) -> dict[str, Any]:
    sides = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(1))
    keys = torch.tensor([-1, -1, 3, 3, 4, 5, 6, 3, 7, 7, -1, 8])
    own = torch.arange(12).chunk(processes.world)[processes.rank]
    pixels, ground = (side[own].clone().requires_grad_() for side in sides)
    subjects = torch.stack((keys, keys.roll(1)), dim=1)
    loss = SymmetricInfoNCE(0.1)(pixels, ground, keys[own], subjects[own], processes)
    loss.backward()
    counted = torch.arange(3 * processes.rank, 3 * processes.rank + processes.rank + 1)
    return {
        "loss": loss.detach(),
        "gradients": torch.stack((pixels.grad, ground.grad)),
        "unequal": processes.gathered_unequal(counted),
        "nothing": processes.gathered_unequal(torch.zeros(0, 4)),
    }


def test_negatives_are_gathered_with_their_gradients(tmp_path: Path) -> None:
    """Beside one process, whose loss is the plain reference's in test_contrastive."""
    alone = losses_and_gradients(Processes())
    found = of_processes(3, tmp_path / "three", losses_and_gradients)
    assert abs(sum(float(one["loss"]) for one in found) / 3 - float(alone["loss"])) < 1e-6
    gradients = torch.cat([one["gradients"] for one in found], dim=1) / 3
    assert (gradients - alone["gradients"]).abs().max() < 1e-6
    for one in found:
        assert one["unequal"].tolist() == [0, 3, 4, 6, 7, 8]
        assert one["nothing"].shape == (0, 4)


def until_killed(processes: Processes, folder: str, killed_after: int | None) -> bytes | None:
    """Train to the end, saving every third step; the last process is killed on the way."""
    training = training_of(processes, recipe_of("bank"))
    store = Store(folder)
    if (state := last_state(store)) is not None:
        training.load_state(state)
    while training.steps_done < STEPS:
        steps_done(training, processes, training.steps_done + 1)
        if processes.rank == 0 and training.steps_done % 3 == 0:
            save_state(store, training.state())
        if processes.rank == 2 and training.steps_done == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)
    return training.state().to_bytes()


@pytest.mark.slow
def test_a_process_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    """Three processes: a sum of three rounds by its order, which must be that of before."""
    through = of_processes(3, tmp_path / "through", until_killed, f"{tmp_path}/whole", None)
    with pytest.raises(mp.ProcessExitedException, match="SIGKILL"):
        of_processes(3, tmp_path / "killed", until_killed, f"{tmp_path}/states", 5)
    state = last_state(Store(f"{tmp_path}/states"))
    assert state is not None
    assert state.step == 3
    again = of_processes(3, tmp_path / "again", until_killed, f"{tmp_path}/states", None)
    assert again == through
    assert len(set(again)) == 1


def validated(processes: Processes) -> dict[str, float]:
    """Of three processes the last has no points."""
    sides = torch.nn.functional.normalize(
        torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(2)), dim=-1
    )
    keys = torch.tensor([0, 0, 1, 1, 2, 2, -1, -1, -1])
    own = slice(*((0, 9) if processes.world == 1 else ((0, 5), (5, 9), (9, 9))[processes.rank]))
    subjects = torch.stack((keys, keys.roll(1)), dim=1)[own]
    parts = [Embedded(sides[0, own], sides[1, own], keys[own], subjects)] if len(subjects) else []
    return validation_measures(Embedded.joined(parts, 4, CPU), processes, 5.0, True)


def test_processes_measure_what_one_does(tmp_path: Path) -> None:
    alone = validated(Processes())
    found = of_processes(3, tmp_path / "three", validated)
    assert found[0] == found[1] == found[2]
    assert found[0] == pytest.approx(alone, abs=1e-6)


def stopped(processes: Processes, folder: str) -> str:
    """Train on a batch of which the last process's part holds a NaN."""
    rank, world = processes.rank, processes.world
    recipe = recipe_of("bank")
    training = Pretraining(
        recipe, AUTHORS, SIZES, CPU, rank=rank, world=world, failed_batches=Path(folder)
    )
    batch = batch_of_step(points(), 12, 0, rank, world)
    if rank == world - 1:
        batch.ground[2, 0] = np.nan
    with pytest.raises(PretrainingError) as raised:
        training.step(batch)
    return str(raised.value)


def test_all_processes_stop_where_one_has_no_loss(tmp_path: Path) -> None:
    found = of_processes(2, tmp_path / "two", stopped, str(tmp_path / "remains"))
    assert all("the loss is nan" in message for message in found)
    kept = sorted((tmp_path / "remains").iterdir())
    assert [str(path) in message for path, message in zip(kept, found, strict=True)] == [True] * 2
