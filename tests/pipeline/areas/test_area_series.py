"""The time series of areas of the maps that a file of years names."""

from pathlib import Path

import pandas as pd
import pytest

from flows.cli.main import run as timesen
from pipeline.layout import VOCABULARY_FILE
from pipeline.product.cell_report import class_hectares
from tests.pipeline.made_run import VOCABULARY, MadeRun, make_run

REGION = "5.30,49.75,5.33,49.76"


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[MadeRun]]:
    """A file of three years, of which two are mapped."""
    folder = tmp_path_factory.mktemp("years")
    file = folder / "land.toml"
    file.write_text(
        f'region = "{REGION}"\nyears = [2022, 2020, 2021]\nclasses = "a field, a lake"\n'
        'out = "maps/{year}"\n'
    )
    made = []
    for year in (2022, 2020):
        run = make_run(str(folder / "maps" / str(year)), REGION, year=year)
        run.store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
        made.append(run)
    return file, made


def test_a_series_has_a_column_and_a_point_for_each_year(
    maps: tuple[Path, list[MadeRun]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, made = maps
    for table, chart in (("a.csv", "a.svg"), ("a.parquet", "a.png")):
        out, drawn = str(tmp_path / table), str(tmp_path / chart)
        assert timesen(["areas", str(file), "--out", out, "--chart", drawn]) == 0
    said = capsys.readouterr().out
    assert said.index("2020, ha") < said.index("2022, ha")
    assert "not mapped yet, and left out: land-2021" in said
    rows = pd.read_csv(tmp_path / "a.csv")
    assert set(rows.year) == {2020, 2022}
    assert set(rows.region) == {"land"}
    hectares = class_hectares(made[1].items)
    found = rows[rows.year == 2020].set_index("value").hectares
    for value, area in hectares.items():
        assert found[value] == pytest.approx(area, rel=1e-3)
    assert "wheat field" in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_series_does_not_take(
    maps: tuple[Path, list[MadeRun]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = maps
    points = tmp_path / "points.csv"
    points.write_text("lon,lat,label\n")
    assert timesen(["areas", str(file), "--points", str(points)]) == 2
    assert "Give the run of that year" in capsys.readouterr().err
    none = tmp_path / "none.toml"
    none.write_text(file.read_text())
    assert timesen(["areas", str(none)]) == 2
    assert "no map of it is there yet" in capsys.readouterr().err
