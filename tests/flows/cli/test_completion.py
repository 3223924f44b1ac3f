"""`timesen completion`, by real shells, and `timesen --version`."""

import os
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from flows.cli.main import run
from tests.flows.conftest import REPOSITORY

ASK = """source {script}
cd {folder}
IFS=$'\\n'
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_timesen
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command `timesen` and the scripts of all shells."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "timesen"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m flows.cli "$@"\n'
    )
    command.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        script = subprocess.run([command, "completion", shell], capture_output=True, check=True)
        (folder / f"timesen.{shell}").write_bytes(script.stdout)
    return folder


def completed(installed: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    asked = ASK.format(
        script=shlex.quote(str(installed / "timesen.bash")),
        folder=shlex.quote(str(installed)),
        words=" ".join(map(shlex.quote, ("timesen", *words))),
    )
    environment = os.environ | {"PATH": f"{installed}:{os.environ['PATH']}"}
    told = subprocess.run(
        ["bash", "--norc", "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stderr == ""
    return told.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["cl"], ["classify"]),
        (["vocabulary", "sh"], ["show"]),
        (["map", "--keep-s"], ["--keep-scl"]),
        (["map", "--vocabulary", "lucas-c"], ["lucas-crops"]),
        (["evaluate", "set", "--checkpoint", ""], ["real-land", "sample"]),
        (["plan", "--catalog", "e"], ["earth-search"]),
        (["classify", "runs/a", "--level", ""], ["class", "parent"]),
        (["vocabulary", "check", "crop"], ["cropland"]),
        (["checkpoint", "show", "real"], ["real-land"]),
        (["map", "timesen.z"], ["timesen.zsh"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
    ids=" ".join,
)
def test_bash_completes(installed: Path, words: list[str], offered: list[str]) -> None:
    assert sorted(completed(installed, *words)) == sorted(offered)


def test_bash_takes_the_script_for_timesen_and_completes_files_elsewhere(installed: Path) -> None:
    asked = f"source {shlex.quote(str(installed / 'timesen.bash'))}; complete -p timesen"
    told = subprocess.run(
        ["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True
    )
    assert told.stdout == "complete -o default -F _timesen timesen\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_scripts(installed: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", installed / f"timesen.{shell}"], check=True)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"timesen {version('timesen')}\n"
