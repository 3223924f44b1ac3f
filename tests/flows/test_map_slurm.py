"""A map on jobs of a real Slurm: two nodes of CPUs, one that stands for GPUs, one that is lost."""

import os
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.execution.dask_cluster import open_cluster
from pipeline.clusters import slurm_jobs
from pipeline.clusters.kind import ClusterError, ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings
from tests.flows.conftest import Shell, rasters
from tests.flows.slurm_node import slurm_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SIZES = """
[cluster]
kind = "slurm"
queue = "cpu"
workers = 1
most_workers = 2
memory_limit = "1GB"
encoders = 1
encoder_queue = "gpu"
encoder_threads = 1
encoder_memory = "1GB"
encoder_directives = []
walltime = "1:00:00"
unencoded_limit = "300MB"
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    nodes = {"cpu1": "cpu", "cpu2": "cpu", "gpu1": "gpu"}
    with slurm_of(tmp_path_factory.mktemp("slurm") / "s", nodes) as conf:
        yield conf


def asked(conf: Path, *command: str) -> str:
    environment = os.environ | {"SLURM_CONF": str(conf)}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return said.stdout


def jobs(conf: Path) -> list[tuple[str, str, str]]:
    """The running jobs: id, name and node."""
    lines = asked(conf, "squeue", "-h", "-t", "R", "-o", "%A %j %N").splitlines()
    return [(words[0], words[1], words[2]) for words in map(str.split, lines)]


def test_a_map_whose_node_is_drained(
    planned: Path,
    whole_run: Path,
    options: Callable[..., list[str]],
    slurm: Path,
    shell: Shell,
    users_server: str,
    tmp_path: Path,
) -> None:
    settings = tmp_path / "run.toml"
    settings.write_text(SIZES)
    # Few cells in flight, so that some are left to be read once a node is lost.
    process = shell.timesen(
        *("map", str(settings), *options(planned, "--cells-in-flight", "2")),
        PREFECT_API_URL=users_server,
        SLURM_CONF=str(slurm),
    )
    lost: tuple[str, str] | None = None
    nodes: dict[str, set[str]] = {"timesen-readers": set(), "timesen-encoders": set()}
    while process.poll() is None:
        running = jobs(slurm)
        for _, name, node in running:
            nodes[name].add(node)
        if lost is None and list(planned.glob("cells/*/*/item.json")):
            lost = next((one[0], one[2]) for one in running if one[1] == "timesen-readers")
            asked(slurm, "scontrol", "update", f"nodename={lost[1]}", "state=drain", "reason=test")
            # All jobs of the node are lost; two readers may share it.
            asked(slurm, "scancel", *(one[0] for one in running if one[2] == lost[1]))
        time.sleep(0.3)
    said, errors = process.communicate()
    assert process.returncode == 0, said + errors
    assert rasters(planned) == rasters(whole_run)
    assert lost is not None
    assert nodes == {"timesen-readers": {"cpu1", "cpu2"}, "timesen-encoders": {"gpu1"}}
    assert jobs(slurm) == []
    assert list(shell.home.glob(".timesen-slurm*")) == []


def test_encoders_follow_the_work(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one comes while tasks wait for the first, and goes once there are none."""
    monkeypatch.setattr(slurm_jobs, "_INTERVAL", 1)
    monkeypatch.setattr(slurm_jobs, "_IDLE_LOOKS", 2)
    sizes = tomllib.loads(SIZES)["cluster"]
    with open_cluster(ClusterSettings(**sizes | {"most_workers": 1, "most_encoders": 2})) as client:

        def encoders() -> int:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            return sum("GPU" in worker["resources"] for worker in workers)

        def wait_for(number: int) -> None:
            until = time.monotonic() + 120
            while encoders() != number:
                assert time.monotonic() < until
                time.sleep(0.2)

        assert encoders() == 1
        work = client.map(time.sleep, [3.0] * 30, pure=False, resources={"GPU": 1})
        wait_for(2)
        client.gather(work)
        wait_for(1)
        assert client.submit(sum, [2, 3], resources={"GPU": 1}).result(timeout=60) == 5


@pytest.fixture
def here(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLURM_CONF", str(slurm))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_slurm_refuses(here: Path) -> None:
    settings = ClusterSettings(kind="slurm", queue="nowhere")
    with pytest.raises(ClusterError, match="invalid partition specified: nowhere"):
        open_cluster(settings).__enter__()
    assert list(here.iterdir()) == []


def test_jobs_that_end_before_a_worker_comes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_jobs, "_POLL", 1)
    settings = ClusterSettings(
        kind="slurm", queue="gpu", directives=["--export=PYTHONPATH=/nowhere,PYTHONHOME=/nowhere"]
    )
    with pytest.raises(
        ClusterUnavailable, match=r"jobs ended before a worker came.*init_fs_encoding"
    ):
        open_cluster(settings).__enter__()
    (folder,) = here.iterdir()
    assert [path.suffix for path in folder.iterdir()] == [".out"], "keys are removed"
