"""How long a command takes to answer: its help, a mistake, the status of a run.

`python -m tests.benchmarks.bench_start`; some two minutes of one core. Writes
`tests/benchmarks/results/start.md`.
"""

import argparse
import os
import platform
import re
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from flows.cli.main import run
from pipeline.sample.archive import write_archive

COMMAND = "python -m tests.benchmarks.bench_start"
RESULT = Path(__file__).parent / "results" / "start.md"
REPOSITORY = Path(__file__).parents[2]
TIMES = 5
COMMANDS = (
    "--help",
    "map --help",
    "status sample",
    "status nowhere",
    "map --regoin 31UFS",
    "map malformed.toml",
    "map catalogue.toml",
    "map checkpoint.toml",
    "classify nowhere --classes 'a, b' --out out",
    "query nowhere vineyard",
    "dataset series nowhere.gpkg --out out",
    "evaluate nowhere --points a.csv --label b",
    "distil nowhere --run a --out out",
    "vocabulary check nowhere",
    "checkpoint show nowhere",
    "pretrain --help",
    "pretrain nowhere --out out",
)
_FILE = 'region = "31UFS"\nyear = 2021\nclasses = "a, b"\nout = "out"\n'
_LIBRARIES = ("numpy", "shapely", "pandas", "rasterio", "dask", "torch", "prefect")
_ROW = re.compile(r"import time:\s+\d+ \|\s+(\d+) \|( +)(\S+)")


@dataclass(frozen=True)
class Answer:
    """A command's answer: medians of seconds, exit code, and what its imports took."""

    command: str
    code: int
    wall: float
    cpu: float
    imports: float
    libraries: tuple[str, ...]

    def row(self) -> str:
        """Its row of the table."""
        return (
            f"| `timesen {self.command}` | {self.code} | {self.wall:.2f} s | {self.cpu:.2f} s | "
            f"{self.imports:.2f} s | {', '.join(self.libraries)} |"
        )


def measured(command: str, folder: Path) -> Answer:
    """Run a command some times in a folder."""
    plain = [sys.executable, "-m", "flows.cli", *shlex.split(command)]
    wall, cpu, code = [], [], 0
    for _ in range(TIMES):
        before, began = _children_seconds(), time.perf_counter()
        code = _ran(plain, folder).returncode
        wall.append(time.perf_counter() - began)
        cpu.append(_children_seconds() - before)
    told = _ran([plain[0], "-X", "importtime", *plain[1:]], folder).stderr
    rows = [(int(us), len(space) // 2, name) for us, space, name in _ROW.findall(told)]
    names = {name for _, _, name in rows}
    imports = sum(us for us, depth, _ in rows if depth == 0) / 1e6
    return Answer(
        command,
        code,
        statistics.median(wall),
        statistics.median(cpu),
        imports,
        tuple(name for name in _LIBRARIES if name in names),
    )


def _ran(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_inputs(folder: Path) -> None:
    """Write the settings that the commands read, and a run that is planned."""
    (folder / "malformed.toml").write_text("region = ")
    (folder / "catalogue.toml").write_text(f'{_FILE}[catalog]\nurl = "{folder}/nowhere"\n')
    (folder / "checkpoint.toml").write_text(f'{_FILE}checkpoint = "nowhere"\n')
    archive = write_archive(folder / "archive", year=2021)
    settings = ("--region", archive.region, "--year", "2021", "--catalog", str(archive.folder))
    words = ("--vocabulary", "sample-landscape", "--checkpoint", "sample")
    if run(["plan", *settings, *words, "--out", str(folder / "sample")]):
        raise RuntimeError("the sample could not be planned")


def document(found: list[Answer]) -> str:
    """The table with what it says."""
    return f"""# How long a command takes to answer

Made by `{COMMAND}` on {os.cpu_count()} cores ({platform.machine()}, {platform.system()},
Python {platform.python_version()}), which other work may have shared: the processor's time is
steadier than the time that passes. Medians of {TIMES} starts, files in the system's cache.

"Imports" is what `python -X importtime` sums up, once; it takes longer for being measured.
"nowhere" is a file, folder or name that is not there, the files of settings have one mistake each,
and `sample` is the sample's run, planned.

| command | exit code | time | processor | imports | of these |
|---|---:|---:|---:|---:|---|
{chr(10).join(one.row() for one in found)}
"""


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        text = document([measured(command, folder) for command in COMMANDS])
    given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
