import pytest

from pipeline.errors import SettingsError
from pipeline.product.map_crs import crs_code, named_crs, pixel_of, require_shown, standard_code

LUXEMBOURG = (5.7, 49.4, 6.5, 50.2)
FIJI = (177.0, -19.0, -179.0, -16.0)


@pytest.mark.parametrize(
    ("code", "pixel"),
    [
        ("EPSG:3035", 10.0),
        ("EPSG:4326", 1 / 12_000),
        ("epsg:2154", 10.0),
        ("ESRI:102022", 10.0),
        ("EPSG:2263", 10 / 0.3048006096012192),
    ],
)
def test_a_code_names_a_crs_and_its_pixel(code: str, pixel: float) -> None:
    crs = named_crs(code)
    assert crs_code(crs) == code.upper()
    assert pixel_of(crs) == pytest.approx(pixel)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("", "this is no code of a CRS"),
        ("3035", "this is no code of a CRS"),
        ("+proj=laea +lat_0=50", "this is no code of a CRS"),
        ("EPSG:99999999", "PROJ knows no such CRS"),
        ("EPSG:4978", "no CRS of a map with two axes"),
        ("EPSG:5773", "no CRS of a map with two axes"),
        ("EPSG:2048", "point west and south"),
    ],
)
def test_what_names_no_crs_of_a_map_is_refused(code: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        named_crs(code)


@pytest.mark.parametrize(
    ("code", "bbox", "problem"),
    [
        ("EPSG:3577", LUXEMBOURG, "is for Australia"),
        ("EPSG:6932", LUXEMBOURG, "is for Southern hemisphere"),
        ("EPSG:32601", LUXEMBOURG, "the map does not lie there"),
        ("EPSG:4326", FIJI, "cuts the map in two"),
        ("EPSG:6933", FIJI, "cuts the map in two"),
        ("EPSG:8859", (-31.0, 10.0, -29.0, 12.0), "cuts the map in two"),
    ],
)
def test_a_crs_that_cannot_show_a_region_is_refused(
    code: str, bbox: tuple[float, ...], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        require_shown(named_crs(code), bbox)


@pytest.mark.parametrize("code", ["EPSG:3035", "EPSG:4326", "EPSG:3857", "EPSG:2154"])
def test_a_crs_that_reaches_a_region_is_taken(code: str) -> None:
    require_shown(named_crs(code), LUXEMBOURG)


def test_the_standard_crs_shows_its_region_everywhere() -> None:
    for west in range(-180, 180, 15):
        for south in range(-75, 75, 15):
            for width in (12, 90):
                east = (west + width + 180) % 360 - 180
                bbox = (float(west), float(south), float(east), float(south + 14))
                require_shown(named_crs(standard_code(bbox)), bbox)
