import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from pipeline.clusters.groups import require_package
from pipeline.clusters.kind import ClusterError
from pipeline.clusters.settings import CLUSTER_KINDS, ClusterSettings, cells_in_flight, workers_of

GB = 10**9


@pytest.mark.parametrize(
    ("settings", "cores", "memory", "sizes"),
    [
        ({}, 2, 8 * GB, (1, 2)),
        ({}, 16, 64 * GB, (4, 4)),
        ({}, 16, 7 * GB, (2, 4)),
        ({}, 1, 1 * GB, (1, 1)),
        ({"workers": 3}, 16, 1 * GB, (3, 5)),
        ({"threads": 2}, 16, 64 * GB, (8, 2)),
        ({"workers": 3, "threads": 1}, 2, GB, (3, 1)),
        ({"memory_limit": "12GiB"}, 16, 30 * GB, (2, 4)),
    ],
)
def test_sizes_of_local_workers(
    settings: dict[str, object], cores: int, memory: int, sizes: tuple[int, int]
) -> None:
    workers = workers_of(ClusterSettings(kind="local", **settings), cores, memory)
    assert (workers.count, workers.threads) == sizes
    assert workers.memory == (12 * 2**30 if "memory_limit" in settings else 3 * GB)


def test_threads_of_this_process_have_its_memory() -> None:
    workers = workers_of(ClusterSettings(), 6, 8 * GB)
    assert (workers.count, workers.threads, workers.memory) == (1, 6, 8 * GB)
    assert workers_of(ClusterSettings(threads=3), 6, 8 * GB).threads == 3


def test_workers_elsewhere_have_cores_and_memory_of_their_own() -> None:
    settings = ClusterSettings(kind="address", address="tcp://host:8786", workers=10)
    workers = workers_of(settings, 6, 8 * GB)
    assert (workers.count, workers.threads) == (10, 6)
    assert workers.memory is None
    assert settings.remote


def test_cells_in_flight_follow_the_workers_unless_the_user_says() -> None:
    assert cells_in_flight(ClusterSettings(), 1) == 3
    assert cells_in_flight(ClusterSettings(), 100) == 102
    assert cells_in_flight(ClusterSettings(cells_in_flight=7), 100) == 7


def test_every_kind_is_a_choice_of_the_setting() -> None:
    assert get_args(ClusterSettings.model_fields["kind"].annotation) == tuple(CLUSTER_KINDS)


def test_an_address_holds_no_secret() -> None:
    with pytest.raises(ValueError, match="without user and password") as refused:
        ClusterSettings(kind="tcp://me:hush@host:8786")
    assert "hush" not in str(refused.value)


PAGE = Path(__file__).resolve().parents[3] / "docs" / "clusters.md"


@pytest.mark.parametrize("written", re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_what_the_page_shows_is_taken(written: str) -> None:
    settings = ClusterSettings(**tomllib.loads(written)["cluster"])
    workers = workers_of(settings, 16, 64 * GB)
    assert workers.count >= 1
    if settings.kind != "cuda":  # whose encoders are this machine's GPUs
        assert (workers.encoders > 0) == (settings.kind in ("slurm", "kubernetes"))


def test_slurms_encoders_have_bounds() -> None:
    sizes = {"kind": "slurm", "encoders": 2, "most_encoders": 5}
    assert workers_of(ClusterSettings(**sizes)).encoders == 5
    for wrong in ({"most_encoders": 1}, {"encoders": 0}, {"encoders": None}):
        with pytest.raises(ValueError, match=r"most_encoders is .* encoders at least"):
            ClusterSettings(**sizes | wrong)


def test_every_kind_is_on_the_page() -> None:
    kinds = re.findall(r"^\| `(\w+)` \| .* \| .*\|$", PAGE.read_text(), re.MULTILINE)
    assert set(kinds) == set(CLUSTER_KINDS)


def test_a_package_that_is_missing_is_told_with_its_extra() -> None:
    with pytest.raises(ClusterError, match=r"no-such-package is not installed.*timesen\[slurm\]"):
        require_package("slurm", "no_such_package", "slurm")
