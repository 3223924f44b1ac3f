"""What catalogues, servers and files say reaches terminal, log and report as plain text only."""

import copy
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.table import Column, Table
from rich.text import Text

from flows.execution.console import PlainConsole, say
from pipeline.io.table_folder import reasons_csv
from tests.catalog_servers import ApiState, api_server, serving
from tests.pipeline.catalog.test_stac_api import Handler, answering
from tests.stac_items import earth_search_item

FORGED = "S2A\x1b[2J\x1b]0;owned\x07\nError: all is well\r\x9b31m\u202eevil"
SEARCH = ["search", "--region", "4.6,50.8,4.7,50.9", "--year", "2021", "--items", "items.parquet"]


def _timesen(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and all output of the real command."""
    ran = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments], capture_output=True, cwd=folder
    )
    return ran.returncode, (ran.stdout + ran.stderr).decode()


def _is_plain(output: str) -> bool:
    lines = output.splitlines()
    return all(c.isprintable() or c == "\n" for c in output) and not any(
        line.startswith("Error: all is well") for line in lines
    )


@pytest.mark.parametrize("field", ["id", "collection", "platform"])
def test_a_forged_item_on_the_terminal(field: str, tmp_path: Path) -> None:
    forged = copy.deepcopy(earth_search_item("31UFS", "2021-07-01"))
    (forged["properties"] if field == "platform" else forged)[field] = FORGED
    items = [earth_search_item("31UFS", "2021-06-01"), forged]
    with api_server(ApiState(items, narrows=False)) as address:
        code, output = _timesen(tmp_path, *SEARCH, "--catalog", address)
    assert code == 0
    assert "1 items cannot be used and are left out" in output
    assert _is_plain(output)
    stored = (tmp_path / "items.parquet").read_bytes()
    assert b"\x1b[2J" not in stored


def test_a_server_that_forges_its_reason(tmp_path: Path) -> None:
    def answers(handler: Handler) -> tuple[int, Any]:
        if handler.path.startswith("/search"):
            return 403, {"description": FORGED}
        return 200, {
            "type": "Catalog",
            "id": FORGED,
            "links": [{"rel": "search", "href": f"{handler.base}/search"}],
        }

    with serving(answering(answers)) as address:
        code, output = _timesen(tmp_path, *SEARCH, "--catalog", address)
    assert code == 1
    assert output.count("\n") == 1
    assert _is_plain(output)


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_names_of_collections_and_files(debug: tuple[str, ...], tmp_path: Path) -> None:
    names = [f"{FORGED}{number}" for number in range(2)]
    for number, name in enumerate(names):
        document = {"type": "Collection", "id": name, "links": []}
        (tmp_path / f"{number}.json").write_text(json.dumps(document))
    links = [{"rel": "child", "href": f"{number}.json"} for number in range(2)]
    catalog = {"type": "Catalog", "id": "root", "links": links}
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    code, output = _timesen(tmp_path, *SEARCH, "--catalog", str(tmp_path), *debug)
    assert code == 2
    assert "has no such collection" in output
    assert _is_plain(output)
    code, output = _timesen(tmp_path, "vocabulary", "show", "no\x1b[2J\nsuch\udcff.toml", *debug)
    assert code == 2
    assert _is_plain(output)


def test_settings_hold_no_control_characters(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        'region = "31UFS"\nyear = 2021\nclasses = "a\\u001b[2J, b"\nout = "a\\u0000b"\n'
    )
    code, output = _timesen(tmp_path, "plan", "run.toml")
    assert code == 2
    assert "classes, out: a text holds a control character" in output
    assert _is_plain(output)


def test_a_console_shows_what_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole(width=200)
    table = Table("[red]name[/]", Column(Text(FORGED)))
    table.add_row("[/unopened] :smile:", FORGED)
    say(console, f"{FORGED} [/b] :warning:")
    console.print(f"[bold]{FORGED}", table, Text(FORGED, style="red"))
    shown = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in shown)
    for text in ("[red]name[/]", "[/unopened] :smile:", "[/b] :warning:", "[bold]S2A\\x1b[2J"):
        assert text in shown


def test_a_terminal_gets_only_the_console_s_own_controls() -> None:
    script = (
        "from rich.text import Text\nfrom flows.execution.console import PlainConsole\n"
        "console = PlainConsole()\nassert console.is_terminal\n"
        f"console.print(Text({FORGED!r}, style='red'))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={"FORCE_COLOR": "1", "TERM": "xterm", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
    )
    shown = ran.stdout.decode()
    assert "\x1b[31m" in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown
    assert "\x07" not in shown


def test_errors_that_nobody_expected_and_warnings_of_libraries() -> None:
    script = (
        "import warnings, logging\nfrom flows.cli.main import _make_streams_safe\n"
        f"_make_streams_safe()\nwarnings.warn({FORGED!r})\nlogging.getLogger('x').warning("
        f"{FORGED!r})\nprint('\\udcff')\nraise RuntimeError({FORGED!r})"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True)
    shown = (ran.stdout + ran.stderr).decode()
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert "RuntimeError" in shown


@pytest.mark.parametrize("name", ["prefect.flow_runs", "prefect.task_runs"])
def test_logs_of_prefect(name: str) -> None:
    import flows.execution.prefect_api  # noqa: F401

    logger = logging.getLogger(name)
    record = logger.makeRecord(name, logging.ERROR, "", 0, "failed: %s", (FORGED,), None)
    assert logger.filter(record)
    assert record.getMessage().startswith("failed: S2A\\x1b[2J")
    assert all(c.isprintable() or c == "\n" for c in record.getMessage())


def test_tables_of_reasons() -> None:
    content = reasons_csv("photo", {FORGED: FORGED, "a.jpg": "too small"}).decode()
    assert content.count("\n") == 3
    assert all(c.isprintable() or c == "\n" for c in content)
