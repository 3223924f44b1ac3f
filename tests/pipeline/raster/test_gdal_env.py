"""What GDAL is told and what of its words is shown."""

import logging

import pytest

from pipeline.raster.gdal_env import gdal_path, is_remote


@pytest.mark.parametrize(
    ("href", "path", "remote"),
    [
        ("s3://bucket/a.tif", "/vsis3/bucket/a.tif", True),
        ("/vsicurl/https://host/a.tif", "/vsicurl/https://host/a.tif", True),
        ("file:///data/a%20b.tif", "/data/a b.tif", False),
        ("/data/a.tif", "/data/a.tif", False),
    ],
)
def test_hrefs_as_gdal_opens_them(href: str, path: str, remote: bool) -> None:
    assert gdal_path(href) == path
    assert is_remote(href) == remote


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Opening 'https://u:hush@host/a.tif'", "Opening 'https://host/a.tif'"),
        ("GetFileSize(http://u:hu/sh@host:80/a.tif?sig=hush)=3", None),
        ("ftp://us@er:hush@host/a.tif, 2 bands", "ftp://host/a.tif, 2 bands"),
        ("a.tif?sig=hush, band 1: IReadBlock failed", "a.tif?…, band 1: IReadBlock failed"),
        ("https://host/a@2.tif", "https://host/a@2.tif"),
        ("no URL, 100 %", "no URL, 100 %"),
    ],
)
def test_rasterios_log_holds_no_secret(
    caplog: pytest.LogCaptureFixture, said: str, shown: str | None
) -> None:
    with caplog.at_level(logging.DEBUG, "rasterio"):
        logging.getLogger("rasterio._env").warning("%s", said)
    (record,) = caplog.records
    assert "hush" not in caplog.text
    if shown is not None:
        assert record.getMessage() == shown
