from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.encoder.preprocessing import BANDS
from pipeline.errors import DatasetError
from pipeline.real_land.calendars import drawn_years, last_years
from pipeline.real_land.tables import LabelledPoints, read_labelled_points
from tests.pipeline.real_land.made_tables import (
    NONE,
    steps,
    write_other_tables,
    write_table,
    write_tables,
)

WORLDCEREAL = ("france_2022_monthly", "france_2023_dekadal", "flanders_2021_monthly")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, pd.DataFrame]]:
    folder = tmp_path_factory.mktemp("tables")
    return folder, write_tables(folder) | write_other_tables(folder)


@pytest.fixture(scope="module")
def points(tables: tuple[Path, dict[str, pd.DataFrame]]) -> LabelledPoints:
    return read_labelled_points(tables[0], WORLDCEREAL)


def plain_years(rows: pd.DataFrame) -> list[np.ndarray]:
    """Each twelve months of a point's rows, January first, month by month: 0 where none."""
    rows = rows.sort_values("timestamp").assign(B8A=0)  # they have none
    months = list(dict.fromkeys((t.year, t.month) for t in rows["timestamp"]))
    found = []
    for start in range(len(months) - 11):
        series = np.zeros((12, len(BANDS)), np.uint16)
        for year, month in months[start : start + 12]:
            of = rows[(rows["timestamp"].dt.year == year) & (rows["timestamp"].dt.month == month)]
            seen = of[of["B02"] != NONE][list(BANDS)].to_numpy(float)
            if len(seen):
                series[month - 1] = np.rint(np.median(seen, axis=0))
        found.append(series)
    return found


def rows_of(tables: dict[str, pd.DataFrame], points: LabelledPoints, number: int) -> pd.DataFrame:
    table = tables[str(points.tables[number])]
    return table[table["sample_id"] == points.ids[number]]


def test_points_carry_the_finest_label_and_what_it_may_mean(points: LabelledPoints) -> None:
    assert points.labels.tolist() == ["grasslands", "maize", "temporary_crops", "trees"] * 3
    assert points.classes[1] == {"maize"}
    assert {"maize", "wheat"} < points.classes[2]
    assert points.year.tolist() == [2022] * 4 + [2023] * 4 + [2021] * 4
    assert points.months.tolist() == [17] * 8 + [16] * 4


def test_a_step_of_several_months_stands_in_each_of_them(
    tables: tuple[Path, dict[str, pd.DataFrame]],
) -> None:
    for name, months in (("lesotho_2021_bimonthly", 2), ("africa_2019_halfyear", 6)):
        points = read_labelled_points(tables[0], (name,))
        rows = tables[1][name]
        for number, series in enumerate(last_years(points)):
            own = rows[rows["sample_id"] == points.ids[number]].sort_values("timestamp")
            values = np.stack([own[b] if b in own else np.zeros(len(own)) for b in BANDS], axis=1)
            assert np.array_equal(series, values.repeat(months, axis=0))


def test_bands_that_a_table_lacks_are_absent(tables: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    series = last_years(read_labelled_points(tables[0], ("rondonia_2018_10day",)))
    lacking = [BANDS.index(band) for band in ("B05", "B06", "B07")]
    assert not series[..., lacking].any()
    assert np.delete(series, lacking, axis=2).all()


def test_labels_without_a_class_are_left_out_and_regions_are_blocks(
    tables: tuple[Path, dict[str, pd.DataFrame]],
) -> None:
    points = read_labelled_points(tables[0])
    assert len(points) == 12 + 3 + 2 + 3 + 2 + 2
    assert "Developed/Open Space" not in points.labels
    of_africa = points.take(points.places == "Africa")
    assert of_africa.blocks.tolist() == ["Africa region 0", "Africa region 1"]
    assert np.isnan(of_africa.lon).all()


def test_the_last_twelve_months_are_those_of_the_plain_rule(
    tables: tuple[Path, dict[str, pd.DataFrame]], points: LabelledPoints
) -> None:
    found = last_years(points)
    assert found.dtype == np.uint16
    for number in range(len(points)):
        expected = plain_years(rows_of(tables[1], points, number))[-1]
        assert np.array_equal(found[number], expected)


def test_drawn_years_are_years_of_the_point(
    tables: tuple[Path, dict[str, pd.DataFrame]], points: LabelledPoints
) -> None:
    """Monthly tables leave no choice but where the year begins; every beginning is drawn."""
    monthly = points.take(points.tables != "france_2023_dekadal")
    rng = np.random.default_rng(0)
    years = [plain_years(rows_of(tables[1], monthly, number)) for number in range(len(monthly))]
    begun: list[set[int]] = [set() for _ in years]
    for _ in range(60):
        for series, whole, which in zip(drawn_years(monthly, rng), years, begun, strict=True):
            which.add(next(k for k, year in enumerate(whole) if np.array_equal(year, series)))
    assert all(len(which) >= 4 for which in begun)


def test_steps_that_are_lost_leave_each_month_one(points: LabelledPoints) -> None:
    """A month that was observed stays observed, at a value between those of its steps."""
    dekads = points.take(points.tables == "france_2023_dekadal")
    whole = last_years(dekads)
    same, others = 0, 0
    rng = np.random.default_rng(1)
    last = LabelledPoints(**{**vars(dekads), "steps": dekads.steps[:, -12:]})
    last = LabelledPoints(
        **{**vars(last), "months": np.full(len(last), 12), "first": last.first + 5}
    )
    assert np.array_equal(last_years(last), whole)
    for _ in range(20):
        drawn = drawn_years(last, rng)
        assert np.array_equal(drawn > 0, whole > 0)
        same += int((drawn == whole).all(axis=2).sum())
        others += int((drawn != whole).any(axis=2).sum())
    assert min(same, others) > 100


def test_what_is_no_such_table_is_said(tmp_path: Path) -> None:
    write_tables(tmp_path)
    write_other_tables(tmp_path)
    path = tmp_path / "france_2023_dekadal.parquet"
    pd.read_parquet(path).drop(columns="B11").to_parquet(path)
    with pytest.raises(DatasetError, match=r"france_2023_dekadal\.parquet.*B11"):
        read_labelled_points(tmp_path)
    write_table(path, steps("2022-01-01", 11, dekads=False), [("trees", "ignore")], 0)
    with pytest.raises(DatasetError, match="11 months"):
        read_labelled_points(tmp_path)
    path.unlink()
    with pytest.raises(DatasetError, match="it is not such a table"):
        read_labelled_points(tmp_path)
