"""Environments in which the command is started: settings of other libraries, homes, streams."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import run
from models.option import user_path
from tests.flows.conftest import REPOSITORY, Shell

Options = Callable[..., list[str]]
CLOSED = "import os, sys; os.closerange(0, 2); os.execv(sys.argv[1], sys.argv[1:])"


def _timesen(shell: Shell, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = shell.timesen(*arguments, **environment)
    out, errors = process.communicate(timeout=300)
    return process.returncode, out, errors


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DASK_CONFIG": "{folder}"}, "{folder}/settings.yaml: Dask's settings are malformed"),
        ({"PREFECT_API_REQUEST_TIMEOUT": "soon"}, "Prefect's settings: request_timeout: Input"),
        ({"PREFECT_HOME": "{folder}"}, "Prefect's settings: .*profiles.toml"),
    ],
)
def test_settings_of_other_libraries_that_are_malformed(
    shell: Shell,
    options: Options,
    tmp_path: Path,
    environment: dict[str, str],
    said: str,
) -> None:
    (tmp_path / "settings.yaml").write_text("distributed: [not closed\n")
    (tmp_path / "profiles.toml").write_text('active = "not closed\n')
    given = {name: text.format(folder=tmp_path) for name, text in environment.items()}
    code, _, errors = _timesen(shell, "map", *options(tmp_path / "run"), **given)
    assert code == 2
    assert "Traceback" not in errors
    start, _, end = said.format(folder=tmp_path).partition(".*")
    told = errors[errors.index("Error: ") :]
    assert start in told
    assert end in told
    assert "soon" not in told  # a value may be a secret


@pytest.mark.slow
def test_streams_that_are_closed(options: Options, planned: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.cli.main", "map", *options(planned)]
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment |= {"PREFECT_HOME": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, *command],
        env=environment,
        stderr=subprocess.PIPE,
        timeout=300,
    )
    assert (done.returncode, done.stderr.decode().count("Error")) == (0, 0)
    assert list((planned / "cells").rglob("class.tif"))


@pytest.mark.slow
def test_a_folder_with_modules_of_our_names(shell: Shell, options: Options, planned: Path) -> None:
    for name in ("models", "pipeline", "flows"):
        (shell.home / f"{name}.py").write_text("raise SystemExit('another module')\n")
    command = Path(sys.executable).parent / "timesen"
    process = shell.start(
        str(command), "map", *options(planned), "--cluster", "local", "--workers", "1"
    )
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert list((planned / "cells").rglob("class.tif"))


NO_NAME = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups")
# Of root, so that this Python and its packages can be read wherever they are.
RIGHTS = (
    "--inh-caps=+dac_override,+dac_read_search",
    "--ambient-caps=+dac_override,+dac_read_search",
)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can become a user without a name, by setpriv of util-linux",
)
@pytest.mark.slow
def test_a_user_without_name_and_home_as_in_containers(options: Options, planned: Path) -> None:
    hidden = ("HOME", "USER", "LOGNAME", "USERNAME", "PREFECT_API_URL", "PREFECT_HOME")
    done = subprocess.run(
        [*NO_NAME, *RIGHTS, sys.executable, "-m", "flows.cli.main", "map", *options(planned)],
        env={k: v for k, v in os.environ.items() if k not in hidden},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert list((planned / "cells").rglob("class.tif"))


def test_a_home_that_nobody_knows(
    options: Options,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert user_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    assert run(["plan", *options("~nobody-of-this-name/run")]) == 2
    assert "~nobody-of-this-name/run: this system knows no such home" in capsys.readouterr().err
    assert run(["vocabulary", "show", "~nobody-of-this-name/words.toml"]) == 2
    assert "neither a shipped vocabulary" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [30, 100, 200])
def test_memory_that_runs_out_is_said(options: Options, tmp_path: Path, megabytes: int) -> None:
    """The text tower or the checkpoint do not fit; no embeddings are cached."""
    arguments = ["plan", *options(tmp_path / "run")]
    program = (
        "import resource, sys\n"
        "import pipeline.mapping.prepare, transformers.models.bert.modeling_bert\n"
        "from flows.cli.main import run\n"
        "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (taken + {megabytes} * 2**20, -1))\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    if ended.returncode:  # else it was enough
        assert ended.returncode == 1
        assert "There is too little memory" in ended.stderr
