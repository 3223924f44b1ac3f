"""A real Slurm on this machine, for tests: of one node, or of several that are this machine."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services import free_port, program


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Path]:
    """The configuration of a Slurm of one node, this machine, that lives as long as the test."""
    with slurm_of(tmp_path / "slurm", {socket.gethostname().partition(".")[0]: "all"}) as conf:
        yield conf


@contextmanager
def slurm_of(folder: Path, nodes: Mapping[str, str]) -> Iterator[Path]:
    """Start a Slurm of nodes, all of them this machine, in partitions; gives its configuration."""
    for needed in ("slurmctld", "slurmd", "sbatch", "srun", "munged"):
        program(needed)
    if os.geteuid():
        pytest.skip("Slurm's daemons are started as root here")
    folder.mkdir()
    munge = folder / "munge"
    munge.mkdir(mode=0o755)
    key = munge / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    name = socket.gethostname().partition(".")[0]
    controller = free_port()
    lines = [
        f"NodeName={node} NodeHostname={name} NodeAddr=127.0.0.1 Port={free_port()} "
        f"CPUs={os.cpu_count()} RealMemory=16000 State=UNKNOWN"
        for node in nodes
    ]
    for partition in dict.fromkeys(nodes.values()):
        members = ",".join(node for node, its in nodes.items() if its == partition)
        lines.append(f"PartitionName={partition} Nodes={members} MaxTime=INFINITE State=UP")
    conf = folder / "slurm.conf"
    conf.write_text(
        f"""ClusterName=test
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={munge}/socket
CryptoType=crypto/munge
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
"""
        + "\n".join([*lines[:-1], f"{lines[-1]} Default=YES"])
        + "\n"
    )
    commands = (
        [program("munged"), "--foreground", "--force", f"--key-file={key}",
         f"--socket={munge}/socket", f"--pid-file={munge}/pid", f"--seed-file={munge}/seed",
         f"--log-file={munge}/log"],
        [program("slurmctld"), "-D", "-f", str(conf)],
        *([program("slurmd"), "-D", "-N", node, "-f", str(conf)] for node in nodes),
    )  # fmt: skip
    started = []
    for number, command in enumerate(commands):
        log = (folder / f"{Path(command[0]).name}-{number}").open("w")
        started.append(subprocess.Popen(command, stdout=log, stderr=log))
        time.sleep(1 if number < 2 else 0)
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
        if set(found.stdout.split()) == {"idle"}:
            return
        time.sleep(0.5)
    logs = [path.read_text() for path in conf.parent.glob("slurm*.log")]
    pytest.fail(f"Slurm has no node: {found.stdout} {found.stderr} {logs}")
