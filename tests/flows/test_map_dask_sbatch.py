"""A map by the Dask cluster of a Slurm job: a real Slurm of one node."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.conftest import REPOSITORY, rasters
from tests.flows.slurm_node import slurm

__all__ = ["slurm"]

BIN = Path(sys.executable).parent
SCRIPT = REPOSITORY / "infra" / "slurm" / "map-dask.sbatch"


@pytest.mark.slow
@pytest.mark.timeout(600)  # a busy machine takes minutes to start processes
def test_the_tasks_of_a_job_map_together_and_leave_nothing(
    planned: Path, whole_run: Path, options: Callable[..., list[str]], slurm: Path, tmp_path: Path
) -> None:
    here = tmp_path / "submitted from"
    here.mkdir()
    job = subprocess.run(
        ["sbatch", "--wait", "--ntasks", "2", "--cpus-per-task", "1", "--output", "job.log",
         str(SCRIPT), *options(planned)],
        cwd=here, capture_output=True, text=True, timeout=500,
        env=os.environ
        | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY),
           "SLURM_CONF": str(slurm)},
    )  # fmt: skip
    log = (here / "job.log").read_text()
    assert job.returncode == 0, job.stderr + log
    assert rasters(planned) == rasters(whole_run)
    assert log.count("Start worker at:") + log.count("Start Nanny at:") >= 2, log
    assert "tls://" in log
    assert "tcp://" not in log
    assert [path.name for path in here.iterdir()] == ["job.log"], "keys are removed"
