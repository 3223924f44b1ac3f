"""Addresses of storage that is not supported, and paths of Windows: said to be so everywhere."""

from pathlib import Path

import numpy as np
import pytest
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from models.errors import UserError
from models.option import RelativePath
from pipeline.catalog.description import describe_catalog
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.io.tables import read_columns
from pipeline.io.user_paths import foreign_address
from pipeline.point_series.point_file import read_frame
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader

FOREIGN = {
    "gs://bucket/place": "gs:// is not supported",
    "abfs://container@account/place": "abfs:// is not supported",
    "ftp://user:hush@host/place": "ftp:// is not supported",
    r"C:\maps\place": "a path of Windows",
    "C:/maps/place": "a path of Windows",
    r"\\server\maps\place": "a path of Windows",
}
READERS = {
    "output": Store,
    "catalogue": describe_catalog,
    "region": read_region,
    "points": lambda text: read_frame(Path(text)),
    "table": lambda text: read_columns(Path(text), ["id"]),
}


@pytest.mark.parametrize("address", FOREIGN)
@pytest.mark.parametrize("reader", READERS)
def test_an_address_that_is_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        READERS[reader](address)
    assert FOREIGN[address] in str(raised.value)
    if reader in ("output", "catalogue", "region"):
        assert "hush" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_supported_schemes_are_named() -> None:
    with pytest.raises(UserError, match="these are: s3://"):
        Store("gs://bucket/run")
    with pytest.raises(UserError, match="these are: https://, http://, file://"):
        describe_catalog("s3://bucket/catalog.json")
    assert Store("S3://bucket/run").root == "s3://bucket/run"
    for sound in ("/data/a.tif", "a.tif", "runs/a b", "5,49,6,50", "31UFS"):
        assert foreign_address(sound) is None


def test_such_an_address_in_settings_is_not_taken_for_a_relative_path(tmp_path: Path) -> None:
    for address in FOREIGN:
        assert RelativePath().anchored(address, tmp_path) == address
    assert RelativePath().anchored("runs/a", tmp_path) == str(tmp_path / "runs/a")


def test_a_raster_at_such_an_address_is_a_fault() -> None:
    faults = FaultLog()
    spec = RasterSpec(32631, (0, 0, 40, 40), (10, 10))
    reader = NativeReader(
        url="gs://bucket/a.tif", spec=spec, dtype=np.dtype("uint16"), faults=faults
    )
    assert not reader.read(Window(0, 0, 4, 4)).any()
    (fault,) = faults
    assert fault.reason.startswith("cannot be opened: gs:// is not supported")
