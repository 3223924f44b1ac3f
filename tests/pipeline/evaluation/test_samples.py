"""Rows of a table and of a training set, made ready for an encoder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.encoder.preprocessing import BANDS
from models.errors import UserError
from pipeline.errors import DatasetError
from pipeline.evaluation.samples import ALL, numbers_of, open_samples
from pipeline.point_series.table import SeriesTable
from tests.pipeline.evaluation.made_samples import (
    RULE,
    MadeSamples,
    made_samples,
    write_set,
    write_table,
)

COUNT = 300


@pytest.fixture(scope="module")
def made() -> MadeSamples:
    return made_samples(COUNT)


@pytest.fixture(scope="module")
def table(made: MadeSamples, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_table(tmp_path_factory.mktemp("table"), made)


@pytest.fixture(scope="module")
def packed(made: MadeSamples, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_set(tmp_path_factory.mktemp("set"), made)


def test_a_table_in_the_encoders_order_with_gaps_filled(made: MadeSamples, table: str) -> None:
    order = tuple(reversed(BANDS))
    found = open_samples(table, order, RULE).read(ALL)
    assert found.left_out == 2
    assert len(found) == COUNT - 2
    assert found.ground is None
    assert found.labels["land"].tolist() == list(made.rows.labels["land"][:-2])
    given = made.rows.series[:-2, :, ::-1].astype(float)
    wanted = np.where(given == 0, np.nan, given)
    median = np.nanmedian(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found.series, np.where(np.isnan(wanted), median, wanted), atol=0.51)


def test_splits_share_no_row_and_cover_the_table(table: str) -> None:
    source = open_samples(table, BANDS, RULE)
    parts = [source.read(part) for part in ("train", "validation", "test")]
    seen = [{row.tobytes() for row in part.series} for part in parts]
    assert not seen[0] & (seen[1] | seen[2])
    assert not seen[1] & seen[2]
    few = source.read("train", most=20, seed=1)
    assert len(few) == 20
    assert {row.tobytes() for row in few.series} <= seen[0]
    blocks = [set(part.blocks.tolist()) for part in parts]
    assert not blocks[0] & (blocks[1] | blocks[2])
    assert all(len(part.blocks) == len(part) for part in parts)


def test_a_training_set_has_the_same_parts_and_its_ground(
    made: MadeSamples, table: str, packed: str
) -> None:
    of_table, of_set = (open_samples(place, BANDS, RULE) for place in (table, packed))
    assert (of_set.default_split, of_table.default_split) == ("test", ALL)
    for part in ("train", "validation", "test", ALL):
        own, other = of_set.read(part), of_table.read(part)
        if part == ALL:  # points near to another part are in none
            assert len(own) <= len(other)
            continue
        assert {row.tobytes() for row in own.series} == {row.tobytes() for row in other.series}
        assert own.ground is not None
        assert own.keys is not None
        np.testing.assert_allclose(np.linalg.norm(own.ground, axis=1), 1, atol=1e-5)
        assert own.keys.shape == (len(own), 1)
        assert len(own.blocks) == len(own)
    assert len(of_set.read("train", most=30, seed=2)) == 30


def test_what_does_not_fit(table: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="it has no B01, which the checkpoint takes"):
        open_samples(table, ("B02", "B01"), RULE)
    with pytest.raises(DatasetError, match="neither a training set"):
        open_samples(str(tmp_path), BANDS, RULE)


def test_rows_may_lack_an_optional_band(made: MadeSamples, tmp_path: Path) -> None:
    lacking = replace(made, rows=replace(made.rows, series=made.rows.series.copy()))
    lacking.rows.series[:50, :, 7] = 0
    lacking.rows.series[50:60, :, 0] = 0
    table = write_table(tmp_path / "table", lacking)
    assert SeriesTable.open(table).card.absent == {
        **dict.fromkeys(BANDS, 2), "B8A": 52, "B02": 12,
    }  # fmt: skip
    assert open_samples(table, BANDS, RULE).read(ALL).left_out == 62
    found = open_samples(table, BANDS, RULE, ("B05", "B8A")).read(ALL)
    assert found.left_out == 12
    assert found.absent.tolist() == [0, 0, 0, 0, 0, 0, 0, 50, 0, 0]
    assert not found.series[:50, :, 7].any()
    assert found.series[50:].all()


def test_series_without_a_band_that_is_needed_are_refused(
    made: MadeSamples, tmp_path: Path
) -> None:
    lacking = replace(made, rows=replace(made.rows, series=made.rows.series.copy()))
    lacking.rows.series[:, :, 7] = 0
    table = write_table(tmp_path / "table", lacking)
    with pytest.raises(DatasetError, match=r"none of its 300 series has all bands.*300 lack B8A"):
        open_samples(table, BANDS, RULE).read(ALL)
    assert len(open_samples(table, BANDS, RULE, ("B8A",)).read(ALL)) == COUNT - 2


def test_a_table_may_have_no_column_for_an_optional_band(table: str) -> None:
    with pytest.raises(DatasetError, match="it has no B01, which the checkpoint takes"):
        open_samples(table, ("B02", "B01", "B8A"), RULE, ("B8A",))
    found = open_samples(table, ("B02", "B01", "B8A"), RULE, ("B01",)).read(ALL)
    assert not found.series[:, :, 1].any()
    assert found.series[:, :, [0, 2]].all()


def test_numbers() -> None:
    found = numbers_of(["1.5", " -2 ", None, ""], "green")
    np.testing.assert_array_equal(found, [1.5, -2, np.nan, np.nan])
    with pytest.raises(UserError, match="'tall' is no number"):
        numbers_of(["1", "tall"], "height")
