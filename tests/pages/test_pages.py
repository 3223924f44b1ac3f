"""Every command that README and docs show runs, as it is typed, over the made-up landscape.

`earth-search` is a catalogue of that name on this machine, `s3://bucket` is in a local S3 server.
"""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyogrio
import pytest
import s3fs
import torch
from moto.server import ThreadedMotoServer

from flows.cli.main import run
from pipeline.catalog import description
from pipeline.sample.archive import SampleArchive
from tests.flows.conftest import connected, users_server
from tests.pages.commands import PAGES, ROOT, Command, named_commands, shown_commands
from tests.pages.world import make_world
from tests.pgstac import PgStac, pgstac
from tests.pipeline.evaluation.test_sample_file import labelled

__all__ = ["pgstac", "users_server"]

_RUN_ELSEWHERE = {
    "make ": ".ci/run calls both",
    "python -m ": "trainings and benchmarks, which take hours or real data",
    "for ": "a part of such a training; test_dataset_photos.py has its commands",
    "cd ": "test_open_the_map.py opens an item by GDAL's STACIT",
    "gdalinfo ": "test_open_the_map.py opens an item by GDAL's STACIT",
    "timesen view ": "it serves until Ctrl-C; test_page.py of the viewer runs it",
    "timesen pretrain sets/* ": "the training of real-land, which takes an hour of real data",
}
"""Commands that are not run here, by how they begin, and why."""
_SHORTER = {
    "pretrain": ["--steps", "10", "--batch", "16", "--threads", "1"],
    "distil": ["--bank", "300", "--steps", "10", "--batch", "64", "--pixels", "300"],
}
"""Options that are added, so that a training ends soon."""
_HERE = {
    "clip:openai/clip-vit-base-patch32": "clip:clip",  # a small one of the tests
    "--year 2018": "--year 2021",  # the archive's
    "--cluster local --workers 4": "--cluster threads",
}
"""What is written otherwise than on the page."""
_STAC_API = "https://stac.example.org"
"""The address of the STAC API that the page on publication names."""
_AS_MAPPED = "as-mapped"
"""The folder of the run as it is before a page's first command."""


@pytest.fixture(scope="module")
def world(
    sample_archive: SampleArchive, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with all that commands name, and the catalogue and the store that they name."""
    folder = tmp_path_factory.mktemp("world")
    make_world(folder, sample_archive)
    shipped = tmp_path_factory.mktemp("catalogs")
    (shipped / "earth-search.toml").write_text(f'url = "{sample_archive.folder}"\n')
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(description, "_SHIPPED", shipped)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        boto3.client("s3").create_bucket(Bucket="bucket")
        patch.chdir(folder)
        yield folder
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def mapped(world: Path, users_server: str) -> Path:
    """The world once a run is mapped, in the folders that pages name, and on S3."""
    with connected(users_server):
        assert run(["map", "run.toml", "--keep-embeddings"]) == 0
        cover = ["--classes", "cropland, shrubland, forest, lake", "--out", "runs/cover"]
        assert run(["classify", "runs/my-region", *cover]) == 0
    for name in ("runs/a", "runs/all", "RUN", _AS_MAPPED):
        shutil.copytree(world / "runs" / "my-region", world / name)
    for name, there in (("my-region", "run"), ("cover", "cover")):
        s3fs.S3FileSystem().put(str(world / "runs" / name), f"bucket/{there}", recursive=True)
    with connected(users_server):
        assert run(["dataset", "texts", "words.csv", "--out", "GROUND"]) == 0
    return world


@pytest.mark.slow
def test_the_readme(world: Path, users_server: str) -> None:
    with connected(users_server):
        _run_all(ROOT / "README.md", world)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_a_page(
    page: Path,
    mapped: Path,
    users_server: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if any(_STAC_API in command.text for command in shown_commands(page)):
        api: PgStac = request.getfixturevalue("pgstac")
        monkeypatch.setitem(_HERE, _STAC_API, api.address)
        monkeypatch.setenv("STAC_TOKEN", "a word that the API does not ask for")
    # Whatever another page has made of it.
    shutil.rmtree(mapped / "runs" / "my-region", ignore_errors=True)
    shutil.copytree(mapped / _AS_MAPPED, mapped / "runs" / "my-region")
    with connected(users_server):
        _run_all(page, mapped)


def _run_all(page: Path, world: Path) -> None:
    for command in shown_commands(page):
        if not _is_run_elsewhere(command):
            _make_ready(command, world)
            assert run(_arguments(command)) == 0, str(command)


def _is_run_elsewhere(command: Command) -> bool:
    if command.text.startswith("timesen view "):
        return "--export" not in command.text  # else it ends by itself
    return any(command.text.startswith(begin) for begin in _RUN_ELSEWHERE)


def _arguments(command: Command) -> list[str]:
    text = command.text
    for written, here in _HERE.items():
        text = text.replace(written, here)
    name, *words = shlex.split(text, comments=True)
    assert name == "timesen", str(command)
    more = _SHORTER.get(words[0], [])
    return [*(path for word in words for path in _expanded(word)), *more]


def _expanded(word: str) -> list[str]:
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


def _make_ready(command: Command, world: Path) -> None:
    """Remove what an earlier command has written to the same place: pages show alternatives."""
    words = command.words
    if "--out" in words and words[1] != "map":
        out = words[words.index("--out") + 1]
        for name in (out, f"{out}.training"):
            shutil.rmtree(world / name, ignore_errors=True)
    if words[1] == "sample":
        for file in world.glob("*.gpkg"):
            if file.name in ("sample.gpkg", "ref.gpkg"):
                file.unlink()
    if words[-1] == "sample.gpkg":  # the labels that a person would give
        labelled(world / "sample.gpkg", ["forest"] * len(pyogrio.read_dataframe("sample.gpkg")))
    if words[1:3] == ["dataset", "pack"]:  # the archive's points lie in one block of land
        shutil.rmtree(world / "series", ignore_errors=True)
        shutil.copytree(world / "SERIES", world / "series")
    if words[1] == "map" and set(words) & {"--vocabulary", "--classes", "--examples"}:
        shutil.rmtree(world / "runs" / "my-region", ignore_errors=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_that_sentences_name_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in named_commands(page):
        words = [word for word in command.words[1:] if word != "…"]
        names = [words[0]]
        if words[0] in ("checkpoint", "dataset", "vocabulary", "bench"):
            names += words[1:2]
        assert run([*names, "--help"]) == 0, str(command)
        text = capsys.readouterr().out
        for word in words:
            if word.startswith("--") and word != "--help":
                assert f"{word} " in text or f"{word}\n" in text, f"{command}: {word}"
