"""Pretraining under torchrun and Slurm, and on workers of Slurm and of a Dask Gateway.

All are real ones, on this machine.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.encoder.checkpoint import load_checkpoint
from tests.flows.conftest import REPOSITORY, Shell
from tests.flows.dask_gateway_server import gateway
from tests.flows.pretrainings import pretraining, weights
from tests.flows.slurm_node import slurm
from tests.training_sets import made_set

__all__ = ["gateway", "slurm"]

pytestmark = pytest.mark.timeout(900)  # a busy machine takes minutes to start processes
BIN = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
TORCHRUN = ("torchrun", "--nproc-per-node", "2", "--standalone", "--no-python", "timesen")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "set"
    made_set(str(folder))
    return folder


@pytest.fixture(scope="module")
def by_torchrun(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that two processes of torchrun make."""
    out = tmp_path_factory.mktemp("torchrun") / "made"
    _, *options = pretraining(dataset, out)
    # Modules of a user's own, with the names of ours, in the folder where they are started.
    for name in ("models", "pipeline", "flows"):
        (out.parent / f"{name}.py").write_text("raise SystemExit('another module')\n")
    found = subprocess.run(
        [*TORCHRUN, "pretrain-process", *options],
        cwd=out.parent, env=ENVIRONMENT, capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "step 30 of 30, loss" in found.stdout
    assert f"fingerprint {load_checkpoint(out).fingerprint}" in found.stdout
    return out


@pytest.mark.slow
def test_torchrun(by_torchrun: Path) -> None:
    (session,) = load_checkpoint(by_torchrun).card.training["sessions"]
    assert (session["processes"], session["device"]) == (2, "CPU")


@pytest.mark.slow
def test_slurm(by_torchrun: Path, dataset: Path, slurm: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    _, *options = pretraining(dataset, out)
    job = subprocess.run(
        ["sbatch", "--wait", "--ntasks", "2", "--cpus-per-task", "1", "--output", "job.log",
         str(REPOSITORY / "infra" / "slurm" / "pretrain.sbatch"), *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=800,
        env=ENVIRONMENT | {"SLURM_CONF": str(slurm)},
    )  # fmt: skip
    assert job.returncode == 0, job.stderr + (tmp_path / "job.log").read_text()
    (session,) = load_checkpoint(out).card.training["sessions"]
    assert session["processes"] == 2
    assert weights(out) == weights(by_torchrun)


@pytest.mark.slow
def test_workers_of_slurm(
    by_torchrun: Path, dataset: Path, slurm: Path, shell: Shell, users_server: str, tmp_path: Path
) -> None:
    cluster = 'kind = "slurm"\nqueue = "all"\nmemory_limit = "1GB"\n'
    found = trained_on(cluster, dataset, shell, tmp_path, users_server, SLURM_CONF=str(slurm))
    assert weights(found) == weights(by_torchrun)


@pytest.mark.slow
def test_workers_of_a_gateway(
    by_torchrun: Path, dataset: Path, gateway: str, shell: Shell, users_server: str, tmp_path: Path
) -> None:
    cluster = f'kind = "gateway"\ngateway = "{gateway}"\n'
    found = trained_on(cluster, dataset, shell, tmp_path, users_server)
    assert weights(found) == weights(by_torchrun)


def trained_on(
    cluster: str, dataset: Path, shell: Shell, folder: Path, server: str, **environment: str
) -> Path:
    """The checkpoint that two processes on the workers of a cluster make."""
    recipe, out = folder / "recipe.toml", folder / "made"
    recipe.write_text(f"processes = 2\n[cluster]\n{cluster}")
    process = shell.timesen(
        *pretraining(dataset, out, "--recipe", str(recipe)), PREFECT_API_URL=server, **environment
    )
    said, errors = process.communicate(timeout=800)
    assert process.returncode == 0, said + errors
    (session,) = load_checkpoint(out).card.training["sessions"]
    assert (session["processes"], session["device"]) == (2, "CPU")
    return out
