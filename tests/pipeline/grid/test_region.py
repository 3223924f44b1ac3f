import json
from pathlib import Path

import geopandas
import pytest
import shapely

from pipeline.errors import RegionError
from pipeline.grid.cells import tiles_of
from pipeline.grid.region import read_region

SQUARE = shapely.box(4.0, 50.0, 5.0, 51.0)
BOW_TIE = shapely.Polygon([(4, 50), (5, 51), (5, 50), (4, 51)])


def _geojson(path: Path, *geometries: object, crs: str | None = None) -> str:
    features = [
        {
            "type": "Feature",
            "properties": {},
            "geometry": None if g is None else json.loads(shapely.to_geojson(g)),
        }
        for g in geometries
    ]
    collection = {"type": "FeatureCollection", "features": features}
    if crs:
        collection["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(collection))
    return str(path)


def test_bbox() -> None:
    assert read_region(" 4, 50, 5, 51 ").geometry.equals(SQUARE)
    assert read_region("-1e0,-2.5,1,2").geometry.bounds == (-1, -2.5, 1, 2)


def test_bbox_across_the_antimeridian() -> None:
    region = read_region("179,-17,-179,-16")
    assert region.geometry.bounds == (-180, -17, 180, -16)
    assert region.geometry.area == pytest.approx(2)
    assert region.within(178, -17, 182, -16).geometry.bounds == (179, -17, 181, -16)


def test_tile_names() -> None:
    region = read_region("31UFS, t31ugs")
    assert region.geometry.geom_type == "Polygon"
    assert region.geometry.bounds[2] == 6.0  # the zone's border


def test_more_tile_names_than_a_files_name_has_characters() -> None:
    part = read_region("1,43,11,50")
    spec = ", ".join(tile.name for tile in tiles_of(part))
    assert len(spec) > 255
    assert read_region(spec).geometry.buffer(1e-9).covers(part.geometry)


def test_tile_names_go_before_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("31UFS").write_text("no region")
    assert read_region("31UFS").geometry.area > 0


@pytest.mark.parametrize("driver", ["GeoJSON", "GPKG", "parquet"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035"])
def test_files_of_several_polygons(tmp_path: Path, driver: str, crs: str) -> None:
    parts = [shapely.box(4.0, 50.0, 4.6, 51.0), shapely.box(4.5, 50.0, 5.0, 51.0)]
    dense = [shapely.segmentize(part, 0.01) for part in parts]
    frame = geopandas.GeoDataFrame({"n": [1, 2]}, geometry=dense, crs=4326).to_crs(crs)
    path = tmp_path / f"aoi.{ {'GeoJSON': 'geojson', 'GPKG': 'gpkg'}.get(driver, driver) }"
    if driver == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, driver=driver)
    read = read_region(str(path)).geometry
    assert read.is_valid
    assert read.symmetric_difference(SQUARE).area < 1e-6


def test_third_dimension_winding_nulls_and_bare_geometry(tmp_path: Path) -> None:
    clockwise = shapely.Polygon([(4, 50, 9), (4, 51, 9), (5, 51, 9), (5, 50, 9)])
    read = read_region(_geojson(tmp_path / "a.geojson", clockwise, None))
    assert not read.geometry.has_z
    assert read.geometry.equals(SQUARE)
    (tmp_path / "bare.geojson").write_text(shapely.to_geojson(shapely.MultiPolygon([SQUARE])))
    assert read_region(str(tmp_path / "bare.geojson")).geometry.equals(SQUARE)


def test_straight_edges_of_another_crs_stay_straight_there(tmp_path: Path) -> None:
    box = geopandas.GeoSeries([shapely.box(4e6, 3e6, 4.4e6, 3.1e6)], crs=3035)
    geopandas.GeoDataFrame(geometry=box).to_file(tmp_path / "laea.gpkg")
    back = geopandas.GeoSeries(
        [read_region(str(tmp_path / "laea.gpkg")).geometry], crs=4326
    ).to_crs(3035)
    assert back.symmetric_difference(box).area.iloc[0] / box.area.iloc[0] < 1e-4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "nothing is given"),
        ("nowhere.geojson", "no such file"),
        ("nowhere" * 100, "…: no such file"),
        ("~nobody-has-this-name/aoi.geojson", "no such file"),
        ("a\0b", "no such file"),
        (json.dumps(json.loads(shapely.to_geojson(SQUARE.segmentize(0.01)))), "Save it as a"),
        ("4,50,5", "four numbers"),
        ("4,50,5,x", "four numbers"),
        ("4,50,4,51", "empty"),
        ("4,51,5,50", r"south \(51\) is above north \(50\).*4,50,5,51"),
        ("4,50,5,nan", "not finite"),
        ("50,170,51,175", "seem to be swapped.*170,50,175,51"),
        ("170,50,190,51", "outside ±180"),
        ("0,50,1,95", "outside ±180, ±90"),
        ("500000,5600000,600000,5700000", "seem to be metres"),
        ("0,80,1,89", "tiles end at"),
        ("31UZZ", "no such Sentinel-2 tile"),
    ],
)
def test_mistakes_in_words(spec: str, message: str) -> None:
    with pytest.raises(RegionError, match=message):
        read_region(spec)


@pytest.mark.parametrize(
    ("geometries", "message"),
    [
        ([], "holds no geometry"),
        ([None], "holds no geometry"),
        ([shapely.Polygon()], "holds no geometry"),
        ([BOW_TIE], r"Self-intersection at 4\.5, 50\.5"),
        ([SQUARE, shapely.Point(4, 50)], "holds Point, and only polygons"),
        ([shapely.LineString([(4, 50), (5, 51)])], "holds LineString"),
        ([shapely.Polygon([(4, 50), (5, 51), (4, 50)])], "invalid|empty"),
        ([shapely.box(50, 100, 51, 101)], "swapped"),
        ([shapely.box(179, 0, 181, 1)], "outside ±180"),
        ([shapely.box(500000, 5600000, 600000, 5700000)], "metres"),
    ],
)
def test_mistakes_in_files(tmp_path: Path, geometries: list[object], message: str) -> None:
    with pytest.raises(RegionError, match=message):
        read_region(_geojson(tmp_path / "aoi.geojson", *geometries))


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
def test_no_crs(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(geometry=[SQUARE])
    frame.to_file(tmp_path / "plain.shp")
    frame.to_parquet(tmp_path / "plain.parquet")
    for name in ("plain.shp", "plain.parquet"):
        with pytest.raises(RegionError, match="no CRS"):
            read_region(str(tmp_path / name))


def test_unreadable_files(tmp_path: Path) -> None:
    for name in ("noise.geojson", "noise.gpkg", "noise.parquet"):
        (tmp_path / name).write_bytes(b"not a vector file")
        with pytest.raises(RegionError, match="not readable as a vector file"):
            read_region(str(tmp_path / name))
    geopandas.pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(RegionError, match="not readable"):
        read_region(str(tmp_path / "table.parquet"))


def test_several_layers(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(geometry=[SQUARE], crs=4326)
    for layer in ("fields", "woods"):
        frame.to_file(tmp_path / "two.gpkg", layer=layer)
    with pytest.raises(RegionError, match="several layers: fields, woods"):
        read_region(str(tmp_path / "two.gpkg"))
    assert read_region(f"{tmp_path / 'two.gpkg'}#woods").geometry.equals(SQUARE)
    with pytest.raises(RegionError, match=r"no such layer; its layers are fields, woods.*#fields"):
        read_region(f"{tmp_path / 'two.gpkg'}#wood")
    with pytest.raises(RegionError, match="no such file"):
        read_region(f"{tmp_path / 'none.gpkg'}#woods")


def test_a_projected_region_across_the_antimeridian(tmp_path: Path) -> None:
    box = shapely.box(780_000, 8_100_000, 900_000, 8_200_000)  # UTM 60 S, to about 180.8° east
    path = tmp_path / "fiji.gpkg"
    geopandas.GeoDataFrame(geometry=[box], crs=32760).to_file(path)
    with pytest.raises(RegionError, match="crosses the antimeridian"):
        read_region(str(path))
