"""Files of labelled points, in the forms in which spreadsheets and GIS write them."""

from pathlib import Path

import geopandas
import numpy as np
import pytest
from shapely import MultiPoint, Point

from pipeline.io.tables import read_columns
from pipeline.point_series.point_file import PointsError, read_reference

LON, LAT = np.array([5.9955, 6.25, 6.5]), np.array([49.6105, 49.75, -0.5])
LABELS = ("wheat, winter", "étang", None)


def _text(separator: str, comma: str) -> str:
    header = separator.join(("lon", "lat", "cover"))
    labels = [f'"{label}"' if label else "" for label in LABELS]
    rows = [
        separator.join((str(lon).replace(".", comma), str(lat).replace(".", comma), label))
        for lon, lat, label in zip(LON, LAT, labels, strict=True)
    ]
    return "\n".join((header, *rows)) + "\n"


@pytest.mark.parametrize(
    ("name", "separator", "comma"),
    [
        ("a.csv", ",", "."),
        ("a.csv", ";", "."),
        ("a.csv", ";", ","),
        ("a.csv", "\t", "."),
        ("a.csv", "|", "."),
        ("a.txt", "\t", ","),
        ("a.txt", ",", "."),
        ("a.tsv", ";", ","),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_decimal_commas(
    tmp_path: Path, name: str, separator: str, comma: str, encoding: str
) -> None:
    path = tmp_path / name
    path.write_text(_text(separator, comma), encoding=encoding)
    points = read_reference(path, "cover")
    assert np.array_equal(points.lon, LON)
    assert np.array_equal(points.lat, LAT)
    assert points.labels == LABELS
    assert read_columns(path, ["cover"]) == {"cover": list(LABELS)}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_that_is_not_utf_8(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(_text(",", "."), encoding=encoding)
    with pytest.raises(PointsError, match="its texts are not UTF-8: save it as UTF-8"):
        read_reference(path, "cover")


def test_a_coordinate_that_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("lon;lat;cover\n5,5;1,234,5;lake\n")
    with pytest.raises(PointsError, match="1 values of lat are not numbers, for one 1,234,5"):
        read_reference(path, "cover")


def test_multi_points_of_one_point_are_points(tmp_path: Path) -> None:
    geometries = [MultiPoint([(x, y)]) for x, y in zip(LON, LAT, strict=True)]
    frame = geopandas.GeoDataFrame({"cover": LABELS}, geometry=geometries, crs=4326)
    frame.to_file(tmp_path / "a.gpkg")
    points = read_reference(tmp_path / "a.gpkg", "cover")
    assert np.array_equal(points.lon, LON)
    assert points.labels == LABELS
    frame.loc[3] = ["lake", MultiPoint([(1, 2), (3, 4)])]
    frame.to_file(tmp_path / "b.gpkg")
    with pytest.raises(PointsError, match=r"b.gpkg: it holds MultiPoint, not only points") as error:
        read_reference(tmp_path / "b.gpkg", "cover")
    assert str(error.value).count("b.gpkg") == 1


def test_a_file_without_crs_is_told_once(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame({"cover": ["lake"]}, geometry=[Point(1, 2)])
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(PointsError, match=r"a.parquet: the file states no CRS\. Set it") as error:
        read_reference(tmp_path / "a.parquet", "cover")
    assert str(error.value).count("a.parquet") == 1
