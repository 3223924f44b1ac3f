"""A whole run away from the disk: items and rasters over HTTP, the map into object storage."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
import s3fs

from flows.cli.main import run
from pipeline.io.store import Store
from pipeline.product.ledger import read_run
from pipeline.sample.archive import SampleArchive
from tests.flows.conftest import Shell, connected, end_when, rasters
from tests.s3_server import s3

__all__ = ["s3"]

Options = Callable[..., list[str]]


@pytest.mark.slow
def test_from_http_to_s3_with_a_stop_between(
    s3: str,
    sample_archive: SampleArchive,
    http_server: Callable[[Path], str],
    options: Options,
    shell: Shell,
    whole_run: Path,
    users_server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive, out = f"{http_server(sample_archive.folder)}/catalog.json", f"{s3}/run"
    arguments = ["map", *options(out, "--cells-in-flight", "1", archive=archive)]
    bucket = s3fs.S3FileSystem(use_listings_cache=False)

    def done() -> set[str]:
        return set(bucket.glob(f"{out}/cells/*/*/item.json"))

    process = shell.timesen(*arguments, PREFECT_API_URL=users_server)
    end_when(shell, process, signal.SIGINT, lambda: bool(done()))
    assert process.returncode == 130
    first = {name: bucket.info(name)["LastModified"] for name in done()}
    assert 0 < len(first) < len(list(whole_run.glob("cells/*/*/item.json")))

    with connected(users_server):
        assert run(arguments) == 0
    assert {name: bucket.info(name)["LastModified"] for name in first} == first, "mapped again"
    store, here = Store(out), Store(str(whole_run))
    keys = [key for key in store.keys("cells") if key.endswith(".tif")]
    # A raster names its run, and a run its catalogue; else the files are the same.
    name, other = (read_run(at).fingerprint.encode() for at in (store, here))
    there = {key: content.replace(name, other) for key, content in store.read_many(keys)}
    assert there == rasters(whole_run)
    said = capsys.readouterr().out
    mosaic = store.gdal_path("class.vrt")
    assert f"Map      {mosaic}" in said
    with (
        rasterio.Env(**store.gdal_options()),
        rasterio.open(mosaic) as remote,
        rasterio.open(whole_run / "class.vrt") as local,
    ):
        assert (remote.read(1) == local.read(1)).all()
