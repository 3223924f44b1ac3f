"""A GPU for each worker process: worker processes as they are on a machine with GPUs."""

import os

import pytest

from pipeline.clusters.local import ProcessesCluster
from pipeline.clusters.own_card import visible_cards
from pipeline.clusters.settings import ClusterSettings


def _visible() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("named", "cards", "names"),
    [(None, 2, ["0", "1"]), ("4, 5", 2, ["4", "5"]), ("GPU-ab", 1, ["GPU-ab"])],
)
def test_the_names_of_cards(
    monkeypatch: pytest.MonkeyPatch, named: str | None, cards: int, names: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_cards(cards) == names


def test_workers_take_a_card_each_and_the_first_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may have no GPU: what workers see and offer depends on the number alone."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.setattr("pipeline.clusters.local.cards_at_hand", lambda: 2)
    settings = ClusterSettings(kind="local", workers=3, threads=1, memory_limit="1GB")
    with ProcessesCluster().open(settings) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        seen = client.run(_visible)
    by_number = {int(worker["id"]): address for address, worker in workers.items()}
    assert [seen[by_number[number]] for number in range(3)] == ["4", "5", "4"]
    offered = [workers[by_number[number]]["resources"].get("GPU") for number in range(3)]
    assert offered == [1.0, 1.0, None]


def test_without_gpus_nothing_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.clusters.local.cards_at_hand", lambda: 0)
    settings = ClusterSettings(kind="local", workers=1, threads=1, memory_limit="1GB")
    with ProcessesCluster().open(settings) as client:
        (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
    assert worker["resources"] == {}
