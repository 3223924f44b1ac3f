"""Files of points in every form, and what is wrong with those that are refused."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import Point, Polygon

from pipeline.point_series.points import PointColumns, Points, PointsError, read_points

LON, LAT = [4.35, 5.5, -0.1], [50.85, 44.0, 39.4]
TABLE: dict[str, Any] = {
    "id": ["007", "b", "c"],
    "year": [2018, 2019, 2018],
    "label_lc1": ["A11", None, "B11"],
    "nuts": ["BE", "FR", "NA"],
    "photo_key": ["BE_7", None, "ES_9"],
}


def frame(crs: int | None = 4326, **changes: Any) -> geopandas.GeoDataFrame:
    places = [Point(x, y) for x, y in zip(LON, LAT, strict=True)]
    return geopandas.GeoDataFrame({**TABLE, **changes}, geometry=places, crs=crs)


def csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8-sig")
    return path


def written(folder: Path, kind: str) -> Path:
    path = folder / f"points.{kind}"
    if kind == "csv":
        pd.DataFrame({**TABLE, "Longitude": LON, "LAT": LAT}).to_csv(path, index=False)
    elif kind == "pq":
        pd.DataFrame({**TABLE, "lon": LON, "lat": LAT}).to_parquet(path)
    elif kind == "parquet":
        frame().to_parquet(path)
    elif kind == "gpkg":
        frame().to_crs(3035).to_file(path)
    else:
        frame().to_file(path)
    return path


@pytest.mark.parametrize("kind", ["geojson", "gpkg", "parquet", "csv", "pq"])
def test_every_form_gives_the_same_points(tmp_path: Path, kind: str) -> None:
    points = read_points(written(tmp_path, kind))
    assert points.ids == ("007", "b", "c")
    np.testing.assert_allclose(points.lon, LON, atol=1e-9)
    np.testing.assert_allclose(points.lat, LAT, atol=1e-9)
    assert points.year.tolist() == [2018, 2019, 2018]
    assert points.labels == {"lc1": ("A11", None, "B11")}
    assert points.photo_keys == ("BE_7", None, "ES_9")
    assert not points.left_out
    if kind != "gpkg":  # reprojected, its degrees differ in their last digits
        assert points.fingerprint == read_points(written(tmp_path, "csv")).fingerprint


def test_columns_as_they_are_called(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "lucas.csv", "POINT_ID,LC1,NUTS0,lon,lat\n45061526,11,NA,4.3,50.8\n7,,BE,5,50\n"
    )
    columns = PointColumns("POINT_ID", same_year=2018, labels=("LC1", "NUTS0"), photo_key="none")
    points = read_points(path, columns, {"LC1": ["11", "12"]})
    assert points.ids == ("45061526", "7")
    assert points.year.tolist() == [2018, 2018]
    assert points.labels == {"LC1": ("11", None), "NUTS0": ("NA", "BE")}
    assert points.photo_keys == (None, None)


def test_numbers_are_whole(tmp_path: Path) -> None:
    floats = frame(id=[1.0, 2.0, 3.0], year=[2018.0, 2019.0, 2018.0], label_lc1=[211.0, None, 1.5])
    floats.to_file(tmp_path / "points.gpkg")
    points = read_points(tmp_path / "points.gpkg")
    assert points.ids == ("1", "2", "3")
    assert points.labels["lc1"] == ("211", None, "1.5")


def test_points_without_a_place_are_left_out(tmp_path: Path) -> None:
    rows = "a,2018,4,50\nb,2018,,\nc,2018,10,-85\nd,2018,10,88.5\n"
    points = read_points(csv(tmp_path / "points.csv", f"id,year,lon,lat\n{rows}"))
    assert points.ids == ("a",)
    assert points.left_out.keys() == {"b", "c", "d"}
    assert points.left_out["b"] == "no coordinates"
    assert "80° S to 84° N" in points.left_out["d"]


def test_the_fingerprint_is_that_of_all_that_counts(tmp_path: Path) -> None:
    def made(**changes: Any) -> str:
        frame(**changes).to_parquet(tmp_path / "points.parquet")
        return read_points(tmp_path / "points.parquet").fingerprint

    changes: list[dict[str, Any]] = [
        {"id": ["007", "b", "d"]},
        {"year": [2018, 2019, 2019]},
        {"label_lc1": ["A11", "A11", "B11"]},
        {"photo_key": ["BE_7", "x", "ES_9"]},
    ]
    made_of = [made(), *(made(**change) for change in changes)]
    assert len(set(made_of)) == len(made_of)
    assert made(nuts=["x", "y", "z"]) == made_of[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": ["a", "a", "c"]}, "1 ids are given to several points: a"),
        ({"id": ["a", None, "c"]}, "1 points have no id, such as number 2"),
        ({"year": [2018, 1999, None]}, "year of 2 points is no year of Sentinel-2: 1999, none"),
        ({"year": ["2018", "2018-06-01", "2018"]}, "no year of Sentinel-2: 2018-06-01"),
    ],
)
def test_contradictory_points_are_refused(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    frame(**change).to_parquet(tmp_path / "points.parquet")
    with pytest.raises(PointsError, match=problem):
        read_points(tmp_path / "points.parquet")


def test_labels_out_of_their_list_are_named(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "points.parquet")
    with pytest.raises(PointsError, match=r"1 points have a lc1 .* not in its list: B11 \(1\)"):
        read_points(tmp_path / "points.parquet", allowed={"lc1": ["A11", "A12"]})
    with pytest.raises(PointsError, match="classes are listed for 'lu1'"):
        read_points(tmp_path / "points.parquet", allowed={"lu1": ["A11"]})
    assert len(read_points(tmp_path / "points.parquet", allowed={"label_lc1": ["A11", "B11"]})) == 3


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    path = csv(tmp_path / "points.csv", "point,when,lon,lat\na,2018,4,50\n")
    with pytest.raises(PointsError, match="no column 'id'; its columns are point, when, lon, lat"):
        read_points(path)
    with pytest.raises(PointsError, match=r"no column 'year'.*--year"):
        read_points(path, PointColumns("point"))
    with pytest.raises(PointsError, match="no column 'lc1'"):
        read_points(path, PointColumns("point", "when", labels=("lc1",)))
    with pytest.raises(PointsError, match="no column lon and no column lat"):
        read_points(csv(tmp_path / "nowhere.csv", "id,year,x,y\na,2018,4,50\n"))


def test_places_that_are_none_are_refused(tmp_path: Path) -> None:
    metres = csv(tmp_path / "metres.csv", "id,year,lon,lat\na,2018,3924000,3084000\n")
    with pytest.raises(PointsError, match=r"outside ±180, ±90 degrees, such as 3\.924e"):
        read_points(metres)
    words = csv(tmp_path / "words.csv", "id,year,lon,lat\na,2018,4°21'E,50\n")
    with pytest.raises(PointsError, match="1 values of lon are not numbers, for one 4°21'E"):
        read_points(words)
    frame(crs=None).to_parquet(tmp_path / "nocrs.parquet")
    with pytest.raises(PointsError, match="states no CRS"):
        read_points(tmp_path / "nocrs.parquet")
    area = Polygon([(0, 0), (1, 0), (1, 1)])
    geopandas.GeoDataFrame({"id": ["a"], "year": [2018]}, geometry=[area], crs=4326).to_file(
        tmp_path / "areas.gpkg"
    )
    with pytest.raises(PointsError, match="it holds Polygon, not only points"):
        read_points(tmp_path / "areas.gpkg")


def test_files_that_are_none(tmp_path: Path) -> None:
    for name, content, problem in (
        ("none.gpkg", None, "there is no such file"),
        ("text.gpkg", "text", "not readable as a vector file"),
        ("text.parquet", "text", "not readable as a table"),
        ("empty.csv", "", "not readable as a table"),
        ("head.csv", "id,year,lon,lat\n", "it holds no point"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(PointsError, match=problem):
            read_points(tmp_path / name)
    frame().to_file(tmp_path / "two.gpkg", layer="one")
    frame().to_file(tmp_path / "two.gpkg", layer="two")
    with pytest.raises(PointsError, match="several layers: one, two"):
        read_points(tmp_path / "two.gpkg")


def test_some_of_the_points(tmp_path: Path) -> None:
    points: Points = read_points(written(tmp_path, "csv"))
    some = points.take([2, 0])
    assert some.ids == ("c", "007")
    assert some.labels["lc1"] == ("B11", "A11")
    assert some.photo_keys == ("ES_9", "BE_7")
    assert some.lon.tolist() == [LON[2], LON[0]]
