"""The Dockerfile: what it copies is there and is all that a wheel needs; images are pinned."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.infra.files import INFRA, ROOT, containers, pods, services

DOCKERFILE = (INFRA / "Dockerfile").read_text(encoding="utf-8")
LINES = DOCKERFILE.replace("\\\n", " ").splitlines()


def _copied() -> list[str]:
    """What is copied from the repository, of all stages."""
    found = [line.split()[1:-1] for line in LINES if line.startswith("COPY ")]
    return sorted({name for names in found if not names[0].startswith("--") for name in names})


def test_what_is_copied_is_there_and_is_let_through() -> None:
    assert [name for name in _copied() if not (ROOT / name).exists()] == []
    ignored = (INFRA / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^!(\S+)$", ignored, re.MULTILINE)) == _copied()


def test_a_wheel_of_what_is_copied_has_all_that_timesen_ships(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in _copied():
        if (ROOT / name).is_dir():
            hide = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=hide)
        else:
            shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--wheel-dir", str(tmp_path), "."],
        cwd=source, check=True, capture_output=True, timeout=200,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("timesen-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        packed = set(opened.namelist())
    shipped = {
        str(path.relative_to(source))
        for package in ("models", "pipeline", "flows")
        for path in (source / package).rglob("*")
        if path.is_file() and "egg-info" not in str(path)
    }
    assert shipped - packed == set()
    assert any(name.startswith("models/checkpoints/real-land/") for name in packed)
    assert any(name.endswith("/entry_points.txt") for name in packed)


def test_images_are_pinned() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {service["image"] for service in services().values()}
    images |= {container["image"] for pod in pods().values() for container in containers(pod)}
    ours = {name for name in images if name.startswith("timesen:")}
    assert ours == {f"timesen:{version}", f"timesen:{version}-gpu"}
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    pinned = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
    assert [name for name in images - ours | {base} if not pinned.fullmatch(name)] == []


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_nothing_runs_as_root(target: str) -> None:
    stages: dict[str, list[str]] = {}
    for line in LINES:
        if named := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            lines = stages.setdefault(named[2], [])
        elif stages:
            lines.append(line)
    assert [line for line in stages[target] if line.startswith("USER ")] == ["USER 10001:10001"]
    last = [line for line in stages[target] if line.strip()][-1]
    assert last == "USER 10001:10001"


# Libraries that the base image has, of parts that are not used, and of Debian's packages.
BASE = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libz.so.1",
        "libgcc_s.so.1", "libstdc++.so.6", "libutil.so.1", "ld-linux-x86-64.so.2"}  # fmt: skip
UNUSED = {"libOpenCL.so.1": "OpenVINO on Intel's GPUs", "libgomp.so.1.0.0": "Numba over OpenMP"}
DEBIAN = {"libexpat.so.1": "libexpat1"}


def _installed(name: str, found: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """The shared libraries of a distribution and of all that it needs."""
    if (key := name.lower().replace("_", "-")) not in found:
        whole = distribution(name)
        files = [
            Path(str(whole.locate_file(file))) for file in whole.files or [] if ".so" in file.name
        ]
        found[key] = files
        for text in whole.requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                _installed(needed.name, found)
    return found


def test_libraries_that_wheels_leave_to_the_system_are_installed() -> None:
    if not (readelf := shutil.which("readelf")):
        pytest.skip("readelf is not installed (binutils)")
    files = [file for one in _installed("timesen", {}).values() for file in one]
    assert len(files) > 100
    said = subprocess.run(
        [readelf, "--dynamic", *map(str, files)], capture_output=True, text=True, check=False
    ).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", said)) - {file.name for file in files}
    assert needed - BASE - set(UNUSED) == set(DEBIAN)
    for package in DEBIAN.values():
        assert re.search(rf"apt-get install .* {package}\b", DOCKERFILE)
