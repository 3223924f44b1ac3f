"""What `timesen publish` says before it writes anything."""

from pathlib import Path

import pytest

from flows.cli.main import run
from tests.catalog_servers import ApiState, api_server
from tests.pipeline.made_run import ONE_ZONE, begin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = str(tmp_path_factory.mktemp("made") / "run")
    begin(root, ONE_ZONE)
    return root


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--to", "https://stac.example.org"], "Write --api https://stac.example.org for a STAC"),
        (["--to", "gs://bucket/run"], "Give a folder or s3://bucket"),
        (["--href", "https://maps.example.org"], "--href: it goes with --api"),
        (["--id", "mine"], "--id: it goes with --api"),
        (["--title", "Mine"], "--title: it goes with --api"),
        (["--header", "X-Key: ${KEY}"], "--header: it goes with --api"),
        (["--prune"], "--prune: it goes with --to or --api"),
        (["--with-embeddings"], "--with-embeddings: it goes with --to or --api"),
        (["--api", "https://127.0.0.1:9"], "readers of a STAC API cannot open files of this"),
        (["--api", "https://me:hunter2@x.org", "--href", "https://x.org"], "write ${NAME} in"),
        (["--api", "runs/b", "--href", "https://x.org"], "this is no address of a STAC API"),
    ],
)
def test_options_that_do_not_fit(
    folder: str, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    before = sorted(Path(folder).rglob("*"))
    assert run(["publish", folder, *options]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "hunter2" not in said
    assert sorted(Path(folder).rglob("*")) == before


def test_an_api_without_transactions(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path(folder).rglob("*"))
    with api_server(ApiState([])) as address:
        options = ["--api", address, "--href", "https://maps.example.org/run"]
        assert run(["publish", folder, *options]) == 2
    assert "it has no Transaction extension" in capsys.readouterr().err
    assert sorted(Path(folder).rglob("*")) == before
