"""Areas by class and zone, held to geodesic polygons, to sums pixel by pixel, and to Olofsson's."""

from collections import defaultdict
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from pyproj import CRS, Geod, Proj, Transformer

from flows.cli.main import run as timesen
from pipeline.areas.class_areas import ClassAreas, class_areas_in
from pipeline.areas.zone_areas import zone_areas
from pipeline.areas.zones import Zones, read_zones
from pipeline.errors import RegionError
from pipeline.evaluation.compared_points import compare_points
from pipeline.layout import VOCABULARY_FILE, cell_key
from tests.pipeline.made_run import TWO_ZONES, VOCABULARY, MadeRun, classes_at, make_run

GEOD = Geod(ellps="WGS84")
WEST, SOUTH, EAST, NORTH = (float(edge) for edge in TWO_ZONES.split(","))
NAMES = [entry.name for entry in VOCABULARY.classes]
FIELD = shapely.Polygon(  # within zone 31; its edges cut pixels at all angles
    [(5.9703, 49.7561), (5.9911, 49.7599), (5.9874, 49.7823), (5.9755, 49.7779), (5.9688, 49.7842)],
    [[(5.978, 49.765), (5.9811, 49.7659), (5.9799, 49.7702)]],
)


def geodesic(area: shapely.Geometry) -> float:
    dense = shapely.segmentize(area, 0.0005)
    return abs(GEOD.geometry_area_perimeter(shapely.orient_polygons(dense))[0]) / 10_000


def summed(made: MadeRun, zones: Zones | None = None, **options: bool) -> ClassAreas:
    return class_areas_in(made.store, made.items, VOCABULARY, zones, **options)


def write_zones(path: Path, zones: dict[str, shapely.Geometry], crs: int = 4326) -> Path:
    frame = geopandas.GeoDataFrame({"name": list(zones)}, geometry=list(zones.values()), crs=4326)
    frame.geometry = frame.geometry.segmentize(0.0002)
    frame.to_crs(crs).to_file(path)
    return path


def test_a_whole_run_pixel_by_pixel(ranked: MadeRun) -> None:
    plain: defaultdict[int, float] = defaultdict(float)
    expected: defaultdict[int, float] = defaultdict(float)
    for item in ranked.items:
        epsg = item["properties"]["proj:epsg"]
        name = cell_key(item["properties"]["timesen:tile"], item["id"], "top_classes.tif")
        with rasterio.open(ranked.store.path(name)) as raster:
            classes, transform = raster.read(), raster.transform
        with rasterio.open(ranked.store.path(name.replace("classes", "confidences"))) as raster:
            percents = raster.read()
        rows, columns = np.indices(classes.shape[1:])
        x, y = transform @ (columns + 0.5, rows + 0.5)
        lon, lat = Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)
        factors = Proj(CRS.from_epsg(epsg)).get_factors(lon, lat).areal_scale
        for value in range(1, 6):
            plain[value] += float((0.01 / factors)[classes[0] == value].sum())
            for rank in (0, 1):
                own = (classes[rank] == value) & (classes[0] > 0)
                # 60 ± 30 % and half of it: where they are more than 100 % together, as shares.
                both = np.maximum(percents[:2].astype(float).sum(axis=0), 100)
                expected[value] += float((0.01 / factors * percents[rank] / both)[own].sum())
    found = summed(ranked, by_confidence=True)
    np.testing.assert_allclose(found.mapped[0], [plain[v] for v in range(1, 6)], rtol=1e-8)
    assert found.expected is not None
    np.testing.assert_allclose(found.expected[0], [expected[v] for v in range(1, 6)], rtol=1e-6)
    assert found.unranked is not None
    assert found.unranked[0] + found.expected.sum() == pytest.approx(found.mapped.sum())


@pytest.mark.parametrize("crs", [4326, 3035, 32632])
def test_a_zone_has_its_geodesic_area(ranked: MadeRun, tmp_path: Path, crs: int) -> None:
    zones = read_zones(write_zones(tmp_path / "zones.gpkg", {"field": FIELD}, crs))
    true = geodesic(FIELD)
    assert zones.hectares()[0] == pytest.approx(true, rel=1e-7)
    assert summed(ranked, zones).mapped.sum() == pytest.approx(true, rel=1e-7)


def test_classes_have_the_area_of_their_patches(ranked: MadeRun) -> None:
    """The made land is of patches of degrees: pixels at their edges are of one or the other."""
    true: defaultdict[int, float] = defaultdict(float)
    for i in range(int(WEST * 240) - 1, int(EAST * 240) + 2):
        for j in range(int(SOUTH * 360) - 1, int(NORTH * 360) + 2):
            patch = shapely.box(i / 240, j / 360, (i + 1) / 240, (j + 1) / 360).intersection(FIELD)
            value = int(classes_at(np.array((i + 0.5) / 240), np.array((j + 0.5) / 360)))
            true[value] += geodesic(patch) if patch.area else 0.0
    found = summed(ranked, Zones(("field",), (FIELD,))).mapped[0]
    np.testing.assert_allclose(found, [true[v] for v in range(1, 6)], rtol=0.03)
    assert found.sum() == pytest.approx(sum(true.values()), rel=1e-6)


def test_parts_of_a_zone_add_up_across_utm_zones(ranked: MadeRun) -> None:
    """The border of UTM zones, 6° E, runs through: some pixels there are of both, or of none."""
    west, south, east, north = 5.97, 49.755, 6.03, 49.785
    middle, line = 6.00123, 49.77077
    parts = {
        f"{a}{b}": shapely.box(max(a, west), max(b, south), min(c, east), min(d, north))
        for a, c in ((west, middle), (middle, east))
        for b, d in ((south, line), (line, north))
    }
    whole = shapely.box(west, south, east, north)
    found = summed(ranked, Zones(("whole", *parts), (whole, *parts.values()))).mapped
    np.testing.assert_allclose(found[1:].sum(axis=0), found[0], rtol=1e-8)
    assert found[0].sum() == pytest.approx(geodesic(whole), rel=1e-3)


def test_zones_off_the_map_and_over_each_other(ranked: MadeRun) -> None:
    far = shapely.box(20, 10, 20.1, 10.1)
    zones = Zones(("a", "b", "far"), (FIELD, FIELD.buffer(0.001), far))
    sums = summed(ranked, zones)
    found = zone_areas(sums, VOCABULARY, zones)
    assert found[2].mapped == 0
    assert found[2].hectares == pytest.approx(geodesic(far), rel=1e-7)
    assert found[1].mapped > found[0].mapped > 0


def test_beyond_the_antimeridian(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), "179.97,-16.83,-179.97,-16.80")
    east = shapely.box(179.98, -16.82, 180, -16.81)
    west = shapely.box(-180, -16.82, -179.98, -16.81)
    zones = Zones(("both",), (shapely.MultiPolygon([east, west]),))
    found = summed(made, zones).mapped.sum()
    assert found == pytest.approx(geodesic(east) + geodesic(west), rel=1e-3)
    assert zones.hectares()[0] == pytest.approx(geodesic(east) + geodesic(west), rel=1e-6)


def reference_points(path: Path, count: int, seed: int = 0) -> Path:
    """Points at random, of which a fifth of the first class is of the second."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(WEST, EAST, count), rng.uniform(SOUTH, NORTH, count)
    value = classes_at(lon, lat).astype(int)
    value[(value == 1) & (rng.uniform(size=count) < 0.2)] = 2
    labels = np.array(NAMES)[value - 1]
    points = geopandas.points_from_xy(lon, lat, crs=4326)
    geopandas.GeoDataFrame({"label": labels}, geometry=points).to_file(path)
    return path


def test_areas_by_points_are_those_of_olofsson(ranked: MadeRun, tmp_path: Path) -> None:
    path = reference_points(tmp_path / "points.gpkg", 600)
    zones = Zones(
        ("west", "east", "small"),
        (
            shapely.box(5.97, 49.755, 6, 49.785),
            shapely.box(6, 49.755, 6.03, 49.785),
            FIELD.buffer(-0.006),
        ),
    )
    sums = summed(ranked, zones)
    points = compare_points(ranked.store, ranked.run, ranked.items, path, "label")
    found = zone_areas(sums, VOCABULARY, zones, points)
    assert found[2].estimated is None
    reference = points.classes.matched.index + 1
    for number in (0, 1):
        within = zones.holding(number, points.reference.lon, points.reference.lat)
        inside = within & (points.values > 0)
        by_name = {entry.name: entry for entry in found[number].classes}
        for j, name in enumerate(NAMES, start=1):
            # Equations 9 to 11: the share of j is the sum of W_i n_ij / n_i.
            area, variance = 0.0, 0.0
            for i in range(1, 6):
                stratum = inside & (points.values == i)
                p, n = float((reference[stratum] == j).mean()), int(stratum.sum())
                hectares = float(sums.mapped[number, i - 1])
                area += hectares * p
                variance += hectares**2 * p * (1 - p) / (n - 1)
            known = by_name[name].adjusted
            assert known is not None
            assert known.value == pytest.approx(area)
            assert known.standard_error == pytest.approx(np.sqrt(variance))
        assert by_name[NAMES[0]].adjusted.value < by_name[NAMES[0]].mapped


def test_what_zones_may_be(tmp_path: Path) -> None:
    two = geopandas.GeoDataFrame(
        {"code": ["A", "B", "A"], "title": ["x", None, "y"]},
        geometry=[shapely.box(k, 0, k + 1, 1) for k in range(3)],
        crs=4326,
    )
    path = tmp_path / "zones.gpkg"
    two.to_file(path)
    assert read_zones(path, "code").names == ("A", "B")
    assert read_zones(path, "code").geometries[0].area == pytest.approx(2)
    with pytest.raises(
        RegionError, match="which field names the zones; its fields are code, title"
    ):
        read_zones(path)
    with pytest.raises(RegionError, match="no field 'cod'"):
        read_zones(path, "cod")
    with pytest.raises(RegionError, match="feature 2 has nothing in the field 'title'"):
        read_zones(path, "title")
    two.geometry = two.geometry.boundary
    two.to_file(path)
    with pytest.raises(RegionError, match="only polygons have an area"):
        read_zones(path, "code")


def test_the_command(
    ranked: MadeRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    zones = write_zones(
        tmp_path / "zones.gpkg", {"field": FIELD, "b\x1b[31m": shapely.box(9, 9, 9.1, 9.1)}, 3035
    )
    points = reference_points(tmp_path / "points.gpkg", 400)
    given = [
        "areas",
        ranked.store.root,
        "--zones",
        str(zones),
        "--points",
        str(points),
        "--by-confidence",
    ]
    for table, chart in (("a.csv", "a.png"), ("a.parquet", "a.svg")):
        out, drawn = str(tmp_path / table), str(tmp_path / chart)
        assert timesen([*given, "--out", out, "--chart", drawn]) == 0
    said = capsys.readouterr().out
    assert "\x1b[31m" not in said
    assert "1 of 2 zones have nothing of the map" in said
    text = pd.read_csv(tmp_path / "a.csv")
    binary = pd.read_parquet(tmp_path / "a.parquet").fillna(np.nan)
    pd.testing.assert_frame_equal(text, binary, check_dtype=False)
    field = text[text.zone == "field"]
    assert field.hectares.sum() == pytest.approx(geodesic(FIELD), abs=1e-3)
    assert set(field["class"]) >= set(NAMES)
    assert (field.low_95.dropna() <= field.adjusted_hectares.dropna()).all()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "wheat field" in (tmp_path / "a.svg").read_text()
    for wrong, told in (
        (["--name", "x"], "Give --zones, too"),
        (["--level", "parent"], "the map's classes have no parents"),
        (["--labels", "x.csv"], "Give --points, too"),
        (["--out", str(tmp_path / "a.xlsx")], "no name of a table"),
        (["--zones", str(tmp_path / "no.gpkg")], "there is no such file"),
    ):
        assert timesen(["areas", ranked.store.root, *wrong]) == 2
        assert told in capsys.readouterr().err


def test_from_and_to_object_storage(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_run(f"{s3}/areas", "5.30,49.75,5.33,49.76")
    made.store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
    assert timesen(["areas", made.store.root, "--out", f"{s3}/files/areas.csv"]) == 0
    assert made.store.__class__(f"{s3}/files").read("areas.csv").startswith(b"zone,")
