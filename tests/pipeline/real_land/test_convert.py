"""From long tables to training sets, by the commands that the documentation names."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.cli.main import run
from models.vocabulary.prompts import sentences
from pipeline.point_series.table import SeriesTable
from pipeline.real_land import __main__ as real_land
from pipeline.real_land.rows import BREADTH, SENTENCES, drawn_rows, subjects
from pipeline.real_land.tables import read_labelled_points
from pipeline.real_land.wordings import group
from pipeline.training_set.loader import TrainingSet
from tests.pipeline.real_land.made_tables import write_other_tables, write_tables

PLACES = {"france-and-flanders", "lesotho", "california-and-arkansas", "rondonia", "africa", "made"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_tables(folder)
    write_other_tables(folder)
    return folder


def test_rows_are_years_and_true_sentences(tables: Path) -> None:
    points = read_labelled_points(tables)
    rows = drawn_rows(points, np.random.default_rng(0), views=4)
    # "NonForest" may be so many things that nothing is true of all.
    assert len(rows.ids) == 16 * (len(points) - 1) == len(set(rows.ids))
    for classes, texts, keys, possible in zip(
        rows.points.classes, rows.texts, rows.keys, rows.possible, strict=True
    ):
        for text, key in zip(texts, keys, strict=True):
            assert group(key).is_true_of(classes)
            assert text in sentences(group(key).seen, SENTENCES)
        assert not set(keys) & set(possible)
        assert all(group(key).may_be_true_of(classes) for key in possible)


def test_narrow_words_are_drawn_more_often_than_wide_ones() -> None:
    about = subjects(frozenset({"rice"}))
    weight = {one.key: share for one, share in zip(about.true, about.weight, strict=True)}
    assert weight["rice"] == max(weight.values())
    classes = len(group("cropland").of)
    assert weight["rice"] / weight["cropland"] == pytest.approx(classes**BREADTH)
    assert not about.possible


def test_the_same_tables_give_the_same_rows(tables: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        made = real_land.convert(tables, tmp_path / out, made_per_class=2)
    assert set(made) == PLACES
    for place in PLACES:
        one, two = (
            next(SeriesTable.open(str(tmp_path / out / place / "series")).batches(1000))
            for out in ("one", "two")
        )
        assert np.array_equal(one.series, two.series)
        assert np.isfinite(one.lon).all()
        frames = [
            pd.read_parquet(tmp_path / out / place / "words.parquet") for out in ("one", "two")
        ]
        pd.testing.assert_frame_equal(*frames)


@pytest.mark.slow
def test_the_commands_make_training_sets(
    tables: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["real_land", str(tables), str(out), "--made", "2"])
    real_land.main()
    assert "lesotho: 48 rows" in capsys.readouterr().out
    place = out / "lesotho"
    words, ground, packed = (str(place / name) for name in ("words.parquet", "ground", "set"))
    columns = ["--class-column", "class", "--possible-column", "possible"]
    assert run(["dataset", "texts", words, *columns, "--out", ground]) == 0
    pack = ["dataset", "pack", str(place / "series"), "--ground", ground, "--out", packed]
    assert run([*pack, "--shares", "1", "0", "0"]) == 0
    training_set = TrainingSet.open(packed)
    assert training_set.rows("train") == 48
    (whom,) = training_set.card.attribution  # the words name nobody
    assert "Copernicus" in whom
