"""Commands made of settings models: their help, their short forms, the documented command lines."""

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from cyclopts import App
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from flows.cli.app import run_app
from flows.cli.main import app_of, run, whole_app
from flows.cli.settings_command import settings_command, settings_of
from flows.settings.dataset import (
    PackSettings,
    PhotoSettings,
    Sen4MapSettings,
    SeriesSettings,
    TextSettings,
)
from flows.settings.distil import DistilSettings
from flows.settings.evaluate import CheckpointEvaluation, MapEvaluation
from flows.settings.pretrain import PretrainSettings
from models.option import Option
from pipeline.settings.load import note_of, section_of
from pipeline.settings.map import ClassifySettings, MapSettings
from tests.flows.conftest import REPOSITORY

COMMANDS: list[tuple[str, tuple[type[BaseModel], ...]]] = [
    ("map", (MapSettings,)),
    ("plan", (MapSettings,)),
    ("classify", (ClassifySettings,)),
    ("dataset series", (SeriesSettings,)),
    ("dataset sen4map", (Sen4MapSettings,)),
    ("dataset photos", (PhotoSettings,)),
    ("dataset texts", (TextSettings,)),
    ("dataset pack", (PackSettings,)),
    ("pretrain", (PretrainSettings,)),
    ("distil", (DistilSettings,)),
    ("evaluate", (CheckpointEvaluation, MapEvaluation)),
]
BASE = ["--region", "31UFS", "--year", "2021", "--classes", "a, b", "--out", "map"]


def words(text: str) -> str:
    """A text in one line, as wrapped lines are compared."""
    return " ".join(text.split())


def fields(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a model and its sections that are not hidden, with their places."""
    for name, field in model.model_fields.items():
        option = note_of(field, Option) or Option()
        if section := section_of(field):
            for inner, found in fields(section, f"{place}{name}."):
                if option.only is None or inner.rpartition(".")[2] in option.only:
                    yield inner, found
        elif not option.hidden:
            yield f"{place}{name}", field


def default_note(field: FieldInfo) -> str:
    """The default as the help shows it; none for flags, and where nothing is the default."""
    default = field.get_default(call_default_factory=True)
    if field.is_required() or isinstance(default, bool) or default in (None, (), {}, ""):
        return ""
    numbers = default if isinstance(default, tuple) else (default,)
    return f"[default: {','.join(str(n).removesuffix('.0') for n in numbers)}]"


@pytest.mark.parametrize(("command", "models"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_each_setting_is_an_option_with_its_description_and_default(
    command: str, models: tuple[type[BaseModel], ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command.split(), "--help"]) == 0
    lines = capsys.readouterr().out
    help_lines = lines.partition("\nExamples:")[0].splitlines()
    assert max(map(len, help_lines)) <= 100
    shown = words(lines)
    for model in models:
        settings = {".".join(setting.place): setting for setting in settings_of(model)}
        assert settings.keys() == {place for place, _ in fields(model)}
        for place, field in fields(model):
            flag = settings[place].flag.replace("--", "", 1)
            assert re.search(rf"(--|--\[no-\]|\b|^){re.escape(flag)}\b", shown), place
            if model is models[0] or place not in dict(fields(models[0])):
                assert field.description, place
                assert words(f"{field.description[1:]}. {default_note(field)}") in shown, place


def test_a_new_field_is_an_option_without_other_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class More(MapSettings):
        """A run with one setting more."""

        smoothing: Annotated[float, Option(metavar="PIXELS")] = Field(
            0.5, ge=0, description="the width of a filter"
        )

    seen: list[More] = []

    @settings_command("map", More, file="RUN.toml")
    def app(settings: More) -> int:
        """Map a region."""
        seen.append(settings)
        return 0

    assert isinstance(app, App)
    assert run_app(app, ["--help"]) == 0
    assert re.search(
        r"--smoothing PIXELS +The width of a filter\. \[default: 0\.5\]", capsys.readouterr().out
    )
    assert run_app(app, [*BASE, "--smoothing", "2"]) == 0
    assert seen[0].smoothing == 2
    assert run_app(app, [*BASE, "--smoothing", "-2"]) == 2
    assert "smoothing: '-2' is given, and it must be 0 or more" in capsys.readouterr().err


def loaded(*arguments: str) -> MapSettings:
    """The settings of a mapping run's command line."""
    seen: list[MapSettings] = []

    @settings_command("map", MapSettings, file="RUN.toml")
    def app(settings: MapSettings) -> int:
        seen.append(settings)
        return 0

    assert run_app(app, arguments) == 0
    return seen[0]


def test_short_forms_on_the_command_line() -> None:
    settings = loaded(
        *BASE,
        *("--region", "-1.5,44,-1,45", "--keep-scl", "4,5,6", "--cluster", "tcp://host:8786"),
        *("--substitute", "B8A=B08", "--substitute", "B05=B06", "--no-strict", "--steps", "4"),
    )
    assert settings.region == "-1.5,44,-1,45"  # the last of two, and it begins with a hyphen
    assert settings.reading.keep_scl == (4, 5, 6)
    assert settings.reading.substitute == {"B8A": "B08", "B05": "B06"}
    assert (settings.cluster.kind, settings.cluster.address) == ("address", "tcp://host:8786")
    assert settings.reading.strict is False
    assert settings.steps == 4


def test_options_go_before_the_file_whose_paths_start_at_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    file = folder / "run.toml"
    file.write_text(
        'region = "31UFS"\nyear = 2021\nout = "a"\nclasses = "a, b"\n[reading]\nstrict = true\n'
    )
    monkeypatch.chdir(tmp_path)
    in_file = loaded("runs/run.toml")
    assert (in_file.out, in_file.reading.strict) == (str(folder / "a"), True)
    over = loaded("runs/run.toml", "--out", "b", "--no-strict", "--vocabulary", "lucas-crops")
    assert (over.out, over.reading.strict) == (str(tmp_path / "b"), False)
    assert (over.vocabulary, over.classes) == ("lucas-crops", None)


def documented() -> Iterator[Any]:
    """The command lines in the documentation's blocks of code."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    for page in pages:
        for block in re.findall(r"^```.*?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ")
            for line in re.findall(r"^(?:\.venv/bin/)?timesen (.+)$", lines, re.MULTILINE):
                yield pytest.param(line, id=f"{page.name}: {line[:50]}")


@pytest.mark.parametrize("line", list(documented()))
def test_the_documented_command_lines_can_be_read(line: str) -> None:
    arguments = shlex.split(line, comments=True)
    app_of(arguments).parse_args(arguments, exit_on_error=False, print_error=False)


def each_command(app: App, *above: str) -> Iterator[list[str]]:
    """The words of each command below this one that has none below it."""
    below = [name for name in app if name[0] != "-"]
    for name in below:
        yield from each_command(app[name], *above, name)
    if not below:
        yield list(above)


@pytest.mark.parametrize("command", list(each_command(whole_app())), ids=" ".join)
def test_each_command_has_two_examples_or_more_that_can_be_read(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run([*command, "--help"])
    _, _, examples = capsys.readouterr().out.partition("\nExamples:\n")
    assert len(re.findall(r"^  \S", examples, re.MULTILINE)) >= 2
    for line in re.findall(r"^  .*\btimesen (.*)$", examples, re.MULTILINE):
        arguments = shlex.split(re.split(" [|>] ", line)[0], comments=True)
        assert arguments[: len(command)] == command or command == ["search"]
        app_of(arguments).parse_args(arguments, exit_on_error=False, print_error=False)


def test_each_function_of_a_command_has_a_docstring() -> None:
    for command, _ in COMMANDS:
        app = app_of(command.split())[command.split()[0]]
        for name in command.split()[1:]:
            app = app[name]
        assert inspect.cleandoc(app.help)[-1] == "."


def test_a_file_chooses_among_several_models(tmp_path: Path) -> None:
    seen: list[BaseModel] = []

    @settings_command("evaluate", CheckpointEvaluation, MapEvaluation)
    def app(settings: CheckpointEvaluation | MapEvaluation) -> int:
        """Measure."""
        seen.append(settings)
        return 0

    file = tmp_path / "evaluation.toml"
    file.write_text('points = "points.gpkg"\nlabel = "cover"\n')
    (tmp_path / "points.gpkg").touch()
    assert run_app(app, ["s3://maps/a", "--settings", str(file)]) == 0
    file.write_text('checkpoint = "sample"\n')
    assert run_app(app, ["s3://sets/a", "--settings", str(file)]) == 0
    assert [type(settings) for settings in seen] == [MapEvaluation, CheckpointEvaluation]
    file.write_text('point = "points.gpkg"\n')
    assert run_app(app, ["s3://maps/a", "--settings", str(file)]) == 2


def test_what_a_kind_of_cluster_lacks_is_told_before_anything_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "map"
    what = ["--region", "5.9,49.4,6.6,50.2", "--year", "2024", "--classes", "forest, lake"]
    assert run(["map", *what, "--out", str(out), "--cluster", "slurm"]) == 2
    assert "this machine has no sbatch, scancel, squeue" in capsys.readouterr().err
    assert not out.exists()
