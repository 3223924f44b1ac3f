"""What commands say of rasters that lie in S3 is enough to open them."""

import os
import re
import subprocess
import sys

import pytest

from flows.cli.gdal_place import say_raster
from flows.execution.console import PlainConsole
from pipeline.io.store import Store
from pipeline.product.layers import CLASS
from pipeline.product.mosaic import write_mosaics
from tests.pipeline.made_run import ONE_ZONE, make_run
from tests.s3_server import s3

__all__ = ["s3"]

_OPEN = "import sys, rasterio; print(rasterio.open(sys.argv[1]).read(1).max())"


def test_the_printed_settings_open_the_printed_path(
    s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_run(f"{s3}/said", ONE_ZONE)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    say_raster(PlainConsole(), "Map  ", made.store, CLASS.mosaic_file)
    said = capsys.readouterr().out
    assert "secret" not in said
    path = re.findall(r"Map  (\S+)", said)[0]
    assert path.startswith("/vsis3/maps/said/")
    settings = dict(re.findall(r"(\w+)=([\w:.]+)", said.partition(", and")[0]))
    assert settings["AWS_VIRTUAL_HOSTING"] == "FALSE"
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    opened = subprocess.run(
        [sys.executable, "-c", _OPEN, path],
        env=bare | keys | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    assert opened.stdout.strip() == "5"


def test_a_folder_needs_no_settings(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(str(tmp_path_factory.mktemp("run")))
    say_raster(PlainConsole(), "Map  ", store, CLASS.mosaic_file)
    assert capsys.readouterr().out == f"Map  {store.path(CLASS.mosaic_file)}\n"
