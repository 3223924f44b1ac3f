"""Whose the folder of a training is."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from pipeline.errors import OutputError, OwnershipLost
from pipeline.io.store import Store
from pipeline.training.run_folder import TrainingRun


def test_of_trainings_that_begin_at_once_one_is_made(tmp_path: Path) -> None:
    run = TrainingRun(Store(str(tmp_path / "training")))

    def begin(seed: int) -> bool:
        try:
            run.open({"seed": seed})
        except OutputError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(begin, range(8))).count(True) == 1
    with pytest.raises(OutputError, match=r"it holds another training \(seed: "):
        run.open({"seed": 9})


def test_a_training_whose_folder_was_removed_saves_nothing(tmp_path: Path) -> None:
    run = TrainingRun(Store(str(tmp_path / "training")))
    run.open({"seed": 1})
    run.save_best(1, {"a": torch.zeros(1)})
    for key in list(run.store.keys()):
        run.store.remove(key)
    with pytest.raises(OwnershipLost, match="somebody removed or emptied the folder"):
        run.save_best(2, {"a": torch.zeros(1)})
    assert list(run.store.keys()) == []
