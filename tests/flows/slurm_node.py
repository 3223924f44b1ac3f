"""A real Slurm of one node, this machine, for tests."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import program


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
