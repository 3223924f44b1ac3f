"""What a user may get wrong, at the command line: exit code 2 and one paragraph, no traceback."""

import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import run
from pipeline.sample.archive import SampleArchive

Options = Callable[..., list[str]]
Say = Callable[[list[str]], tuple[int, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run the command and give its exit code and what it says of an error, in one paragraph."""

    def ran(arguments: list[str]) -> tuple[int, str]:
        code = run(arguments)
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err
        if code:
            assert told.err.startswith("Error: ")
            assert told.err.count("\n") == 1
        return code, told.err

    return ran


def changed(arguments: list[str], **changes: str | None) -> list[str]:
    """The options with some of another value, or left out."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    given |= {f"--{name.replace('_', '-')}": value for name, value in changes.items()}  # type: ignore[misc]
    return [part for flag, value in given.items() if value is not None for part in (flag, value)]


def quick(arguments: list[str]) -> list[str]:
    """The options with fewer cells, each of which a plan looks at, in all of the tiles."""
    return changed(arguments, cell_size="512")


SELF_CROSSING = [[5.99, 49.60], [6.01, 49.62], [6.01, 49.60], [5.99, 49.62], [5.99, 49.60]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"region": ""}, "region: nothing is given"),
        ({"region": "5.99,49.60"}, "a bbox is four numbers"),
        ({"region": "nowhere.geojson"}, "no such file, and neither a bbox nor tile names"),
        ({"region": "5.99,49.60,5.99,49.60"}, "the bbox is empty"),
        ({"region": "49.60,95.0,49.62,96.0"}, "latitude and longitude seem to be swapped"),
        ({"region": "6.02,49.60,5.99,49.62"}, "long way round the globe.*5.99,49.6,6.02,49.62"),
        ({"region": "-200,10,-190,11"}, "outside ±180, ±90"),
        ({"region": "99XYZ"}, "there is no such Sentinel-2 tile"),
        ({"region": ",".join(["99XYZ"] * 60)}, "there is no such Sentinel-2 tile"),
        ({"region": '{"type": "Polygon"}' * 20}, "Save it as a .geojson file"),
        ({"region": "-70.0,-10.0,-69.9,-9.9"}, "no item .* reaches into the region"),
        ({"year": "2019"}, "it has some of 2021"),
        ({"year": "1900"}, "year: '1900' is given, and it must be 2015 or more"),
        ({"year": "then"}, "year: 'then' is given, and it must be a whole number"),
        ({"year": None}, "year: it is missing"),
        ({"vocabulary": "nonsense"}, "neither a shipped vocabulary nor a TOML file"),
        ({"vocabulary": None, "classes": "forest"}, "its only class; a map needs two or more"),
        ({"vocabulary": None, "classes": "forest, lake, forest"}, "occurs more than once"),
        ({"classes": "forest, lake"}, "either vocabulary .* or classes"),
        ({"vocabulary": None}, "either vocabulary .* or classes"),
        ({"checkpoint": "nowhere"}, "neither a checkpoint's folder nor the name of a shipped one"),
        ({"catalog": "not-a-catalogue"}, "no such catalogue"),
        ({"catalog": "https://me:hidden@example.com/v1"}, "catalog.url: .* may hold a secret"),
        ({"catalog": "https://example.com/v1?key=${NOT_SET}"}, "the environment has no NOT_SET"),
        ({"cell_size": "10"}, "cell_size: '10' is given, and it must be a multiple of 4"),
        ({"first_month": "13"}, "first_month: '13' is given, and it must be 12 or less"),
        ({"keep_scl": "cloud"}, r"keep_scl\.0: 'cloud' is given, and it must be a whole number"),
        ({"keep_scl": "99"}, "keep_scl.*: '99' is given, and it must be 11 or less"),
        ({"substitute": "B8A"}, "substitute: B8A: write NAME=VALUE"),
        ({"substitute": "B99=B08"}, "'B99' is no band"),
        ({"substitute": "B8A=B09"}, "'B09' is no band"),
        (
            {"cluster": "moon"},
            "cluster.kind: 'moon' is given, and it must be threads, local, address, cuda, "
            "slurm, kubernetes or gateway",
        ),
        ({"cluster": "local", "memory_limit": "some"}, "cluster.memory_limit: no worker could run"),
        ({"cluster": "local", "memory_limit": "3"}, "cluster.memory_limit: no worker could run"),
    ],
    ids=str,
)
def test_a_mistake_in_an_option(
    tmp_path: Path, options: Options, say: Say, change: dict[str, str], problem: str
) -> None:
    out = tmp_path / "run"
    code, said = say(["plan", *changed(options(out), **change)])
    assert code == 2, said
    assert re.search(problem, said), said
    assert "hidden" not in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("geometry", "problem"),
    [
        ({"type": "Polygon", "coordinates": []}, "the file holds no geometry"),
        ({"type": "Polygon", "coordinates": [SELF_CROSSING]}, "Self-intersection at 6, 49.61"),
        ({"type": "Point", "coordinates": [6.0, 49.6]}, "only polygons have an area"),
    ],
    ids=["empty", "self-crossing", "point"],
)
def test_a_region_that_is_none(
    tmp_path: Path, options: Options, say: Say, geometry: dict[str, object], problem: str
) -> None:
    region = tmp_path / "region.geojson"
    region.write_text(json.dumps(geometry))
    code, said = say(["plan", *changed(options(tmp_path / "run"), region=str(region))])
    assert code == 2
    assert re.search(problem, said), said
    assert "region.geojson" in said


@pytest.mark.parametrize(
    ("missing", "problem"),
    [("model.safetensors", "truncated or corrupt"), ("card.json", "JSON")],
)
def test_a_damaged_checkpoint(
    tmp_path: Path, options: Options, say: Say, tiny_checkpoint: Path, missing: str, problem: str
) -> None:
    damaged = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, damaged)
    file = damaged / missing
    file.write_bytes(file.read_bytes()[:-100])
    code, said = say(["plan", *changed(options(tmp_path / "run"), checkpoint=str(damaged))])
    assert code == 2
    assert f"Error: {file}: " in said
    assert problem in said


def test_an_output_that_is_something_else(tmp_path: Path, options: Options, say: Say) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "holiday.jpg").write_text("not a run")
    for out, problem in ((file, "a file, not a folder"), (folder, "for one, holiday.jpg")):
        code, said = say(["plan", *options(out)])
        assert code == 2
        assert problem in said
    assert (folder / "holiday.jpg").read_text() == "not a run"


def test_a_catalogue_that_does_not_answer(
    tmp_path: Path, options: Options, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD", "secret")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}/catalog.json?key=${{WORD}}"
    code, said = say(["plan", *changed(options(tmp_path / "run"), catalog=closed)])
    assert code == 1
    assert "cannot be read: no connection to its server" in said
    assert "secret" not in said


def test_a_folder_below_a_file(tmp_path: Path, options: Options, say: Say) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    for arguments in (["demo", "--folder", f"{file}/x"], ["plan", *quick(options(file / "x"))]):
        code, said = say(arguments)
        assert code == 1
        assert f"{file}/x" in said
        assert "Not a directory" in said
        assert "start again" in said


def test_scarce_memory_is_told_before_the_run(
    tmp_path: Path, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    scarce = ("--cluster", "local", "--workers", "1", "--threads", "2", "--memory-limit", "500MB")
    assert run(["plan", *quick(options(tmp_path / "run", *scarce))]) == 0
    said = capsys.readouterr().out
    assert re.search(r"warning: a worker needs about .* memory_limit is 0\.5 GB", said), said
    assert "What helps: fewer threads per worker than 2" in said


def test_an_absent_band(
    tmp_path: Path, options: Options, say: Say, sample_archive: SampleArchive
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)
    for item in archive.rglob("*_L2A.json"):
        content = json.loads(item.read_text())
        del content["assets"]["nir08"]
        item.write_text(json.dumps(content))
    given = changed(quick(options(tmp_path / "run")), catalog=str(archive))
    code, said = say(["plan", *given])
    assert code == 2
    assert "band B8A: " in said
    assert "substitute" in said
    assert say(["plan", *given, "--substitute", "B8A=B08"]) == (0, "")


def test_a_recipe(tmp_path: Path, say: Say) -> None:
    recipe = tmp_path / "run.toml"
    code, said = say(["map", str(recipe)])
    assert (code, "there is no such file" in said) == (2, True)
    recipe.write_text("region = ")
    code, said = say(["map", str(recipe)])
    assert (code, "not valid TOML" in said) == (2, True)
    code, said = say(["map", str(tmp_path)])
    assert (code, "cannot be read (Is a directory)" in said) == (2, True)


@pytest.mark.parametrize(
    ("mistake", "problem"),
    [
        ('regoin = "31UFS"', r"regoin: there is no such setting \(did you mean region\?\)"),
        (
            "[catalog]\nurll = 'x'",
            r"catalog\.urll: there is no such setting \(did you mean url\?\)",
        ),
        ('catalog = "earth-search"', r"catalog: this is a section: write \[catalog\]"),
        ("[reading]\nkeep_scl = []", "reading.keep_scl: it must have 1 value or more"),
        ('out = ""', "out: it must not be empty"),
    ],
)
def test_a_mistake_in_a_recipe(tmp_path: Path, say: Say, mistake: str, problem: str) -> None:
    recipe = tmp_path / "run.toml"
    out = "" if mistake.startswith("out") else 'out = "map"\n'
    rest = f'region = "31UFS"\nyear = 2021\nclasses = "a, b"\n{out}'
    # With the mark that Windows' editors begin a file with.
    recipe.write_text(rest + mistake, encoding="utf-8-sig")
    code, said = say(["map", str(recipe)])
    assert code == 2
    assert re.search(problem, said), said


def test_one_band_cannot_have_two_substitutes(tmp_path: Path, options: Options, say: Say) -> None:
    given = options(tmp_path / "run", "--substitute", "B8A=B08", "--substitute", "B8A=B04")
    code, said = say(["plan", *given])
    assert code == 2
    assert "write NAME=VALUE, each name once" in said


def test_a_status_of_nothing(tmp_path: Path, say: Say) -> None:
    code, said = say(["status", str(tmp_path)])
    assert code == 2
    assert "no run here" in said


def test_an_unknown_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["map", "--regoin", "31UFS"]) == 2
    said = capsys.readouterr().err
    assert "Unknown option" in said
    assert "Did you mean" in said
    assert "--region" in said
    assert run(["map", "--nope"]) == 2
    assert "Did you mean" not in capsys.readouterr().err


def test_an_unknown_option_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["map", "--catalogue=https://user:s3cret@stac.example/v1"]) == 2
    said = capsys.readouterr().err
    assert "--catalogue" in said
    assert "s3cret" not in said


def test_an_unknown_command_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, near in ((["mapp"], "map"), (["checkpoint", "shw"], "show")):
        assert run(arguments) == 2
        assert f'Did you mean "{near}"?' in capsys.readouterr().err


def test_the_name_of_an_option_is_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["map", "--region", "--year", "2024", "--out", "x"]) == 2
    assert "timesen map --region: it has no value" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", str(tmp_path), "--debug"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "Error: " in said
