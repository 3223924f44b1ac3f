"""Vector files with several layers, and with tables that are no layers."""

from pathlib import Path

import geopandas
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from models.errors import UserError
from models.option import RelativePath
from pipeline.errors import DatasetError, RegionError
from pipeline.grid.region import read_region
from pipeline.io import tables
from pipeline.io.tables import has_column, read_columns, read_features
from pipeline.io.user_paths import file_and_layer, names_tiles
from pipeline.point_series.point_file import PointsError, read_frame, read_reference

SQUARE = shapely.box(4.0, 50.0, 4.1, 50.1)


def styled(path: Path, geometry: shapely.Geometry = SQUARE) -> Path:
    """A GeoPackage of one layer as QGIS saves it together with its style."""
    frame = geopandas.GeoDataFrame({"id": ["7"], "class": ["wheat"]}, geometry=[geometry], crs=4326)
    frame.to_file(path, layer="aoi")
    styles = pd.DataFrame({"styleName": ["aoi"], "useAsDefault": [True]})
    pyogrio.write_dataframe(styles, path, layer="layer_styles")
    assert len(pyogrio.list_layers(path)) == 2
    return path


def test_a_table_of_styles_is_no_layer(tmp_path: Path) -> None:
    area = styled(tmp_path / "area.gpkg")
    points = styled(tmp_path / "points.gpkg", shapely.Point(4.05, 50.05))
    assert read_region(str(area)).geometry.equals(SQUARE)
    assert read_frame(points)["id"].tolist() == ["7"]
    assert read_reference(points, "class").labels == ("wheat",)
    assert read_columns(area, ["class"]) == {"class": ["wheat"]}
    assert has_column(area, "class")


def test_one_of_several_layers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "two.gpkg"
    for layer, place in (("one", 4.0), ("two", 5.0)):
        frame = geopandas.GeoDataFrame(
            {"id": [layer]}, geometry=[shapely.Point(place, 50)], crs=4326
        )
        frame.to_file(path, layer=layer)
    named = path.with_name("two.gpkg#two")
    assert read_frame(named)["id"].tolist() == ["two"]
    assert read_columns(named, ["id"]) == {"id": ["two"]}
    with pytest.raises(PointsError, match=r"several layers: one, two\. .*two\.gpkg#one"):
        read_frame(path)
    with pytest.raises(DatasetError, match="several layers: one, two"):
        read_columns(path, ["id"])
    with pytest.raises(PointsError, match="no such layer; its layers are one, two"):
        read_frame(path.with_name("two.gpkg#three"))
    assert read_columns(path.with_name("two.gpkg#one"), ["id"]) == {"id": ["one"]}
    anchored = RelativePath(names_tiles).anchored("two.gpkg#two", tmp_path)
    assert anchored == str(named)


def test_a_file_of_tables_alone_has_no_geometry_but_attributes(tmp_path: Path) -> None:
    path = tmp_path / "table.gpkg"
    pyogrio.write_dataframe(pd.DataFrame({"id": ["1"]}), path, layer="rows")
    assert read_columns(path, ["id"]) == {"id": ["1"]}
    with pytest.raises(RegionError, match="holds no geometry"):
        read_features(path, RegionError, "Give polygons")
    with pytest.raises(RegionError, match="no such layer; its layers are without geometry"):
        read_features(path.with_name("table.gpkg#rows"), RegionError, "Give polygons")


def test_a_file_may_have_the_sign_in_its_name(tmp_path: Path) -> None:
    path = styled(tmp_path / "plot#3.gpkg")
    assert file_and_layer(path) == (path, None)
    assert file_and_layer(path.with_name("plot#3.gpkg#aoi")) == (path, "aoi")
    assert read_region(str(path)).geometry.equals(SQUARE)
    assert read_region(f"{path}#aoi").geometry.equals(SQUARE)


def test_a_table_that_is_larger_than_its_file_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes may stand for any number of equal rows."""
    bomb = tmp_path / "points.parquet"
    rows = 3_000_000
    four = pa.array([4.0]).take(pa.array([0] * rows))
    columns = {"lon": four, "lat": four, "id": pa.nulls(rows)}
    pq.write_table(pa.table(columns), bomb, compression="zstd")
    assert bomb.stat().st_size < 100_000
    read_frame(bomb)
    monkeypatch.setattr(tables, "MOST_CELLS", 3 * rows - 1)
    for read in (lambda: read_frame(bomb), lambda: read_columns(bomb, ["id"])):
        with pytest.raises(UserError, match=r"it has 3,000,000 rows of 3 columns.* at most"):
            read()
    with pytest.raises(RegionError, match="at most"):
        read_region(str(bomb))
    monkeypatch.setattr(tables, "MOST_CELLS", 3 * rows)
    monkeypatch.setattr(tables, "LARGEST_TABLE", 100)
    with pytest.raises(UserError, match="GB uncompressed"):
        read_frame(bomb)
