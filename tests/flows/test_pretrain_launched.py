"""Pretraining under torchrun and under Slurm: real ones, on this machine."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.encoder.checkpoint import load_checkpoint
from tests.flows.conftest import REPOSITORY
from tests.flows.pretrainings import pretraining, weights
from tests.services import program
from tests.training_sets import made_set

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


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Path]:
    """The configuration of a Slurm of one node, this machine, that lives as long as the test."""
    for needed in ("slurmctld", "slurmd", "sbatch", "srun", "munged"):
        program(needed)
    if os.geteuid():
        pytest.skip("Slurm's daemons are started as root here")
    folder = tmp_path / "slurm"
    folder.mkdir()
    munge = folder / "munge"
    munge.mkdir(mode=0o755)
    key = munge / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    name = socket.gethostname().partition(".")[0]
    controller, node = (str(_free_port()) for _ in range(2))
    conf = folder / "slurm.conf"
    conf.write_text(
        f"""ClusterName=test
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={munge}/socket
CryptoType=crypto/munge
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
NodeName={name} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=all Nodes={name} Default=YES MaxTime=INFINITE State=UP
"""
    )
    commands = (
        [program("munged"), "--foreground", "--force", f"--key-file={key}",
         f"--socket={munge}/socket", f"--pid-file={munge}/pid", f"--seed-file={munge}/seed",
         f"--log-file={munge}/log"],
        [program("slurmctld"), "-D", "-f", str(conf)],
        [program("slurmd"), "-D", "-f", str(conf)],
    )  # fmt: skip
    started = []
    for command in commands:
        log = (folder / Path(command[0]).name).open("w")
        started.append(subprocess.Popen(command, stdout=log, stderr=log))
        time.sleep(1)
    try:
        _await_idle(conf)
        yield conf
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=20)


def _await_idle(conf: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"],
            capture_output=True, text=True, env=os.environ | {"SLURM_CONF": str(conf)},
        )  # fmt: skip
        if found.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = [path.read_text() for path in conf.parent.glob("slurm*.log")]
    pytest.fail(f"Slurm has no node: {found.stdout} {found.stderr} {logs}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
