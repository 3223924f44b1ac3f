"""From long tables to a training set, by the commands that the documentation names."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.cli.main import run
from pipeline.point_series.table import SeriesTable
from pipeline.real_land.__main__ import convert, main
from pipeline.real_land.descriptions import groups
from pipeline.real_land.rows import SENTENCES
from pipeline.training_set.loader import TrainingSet
from pipeline.training_set.spatial_split import SPLITS
from tests.pipeline.real_land.made_tables import write_tables


def test_rows_are_years_and_what_is_said_of_them(tmp_path: Path) -> None:
    write_tables(tmp_path / "tables")
    assert convert(tmp_path / "tables", tmp_path / "out", years=3, views=4) == 36
    table = SeriesTable.open(str(tmp_path / "out" / "series"))
    (rows,) = table.batches(100)
    words = pd.read_parquet(tmp_path / "out" / "words.parquet")
    assert words["id"].tolist() == np.repeat(rows.ids, 4).tolist()
    allowed = {
        group.name: {
            template.replace("{}", wording) for wording in group.seen for template in SENTENCES
        }
        for group in groups()
    }
    classes = dict(zip(rows.ids, rows.labels["class"], strict=True))
    for entry in words.itertuples():
        assert classes[entry.id] in entry._3.split()
        if "{a}" not in entry.text and entry.text.split()[0] not in ("a", "an"):
            assert any(wording in entry.text for wording in allowed[entry._3])


def test_the_same_tables_give_the_same_rows(tmp_path: Path) -> None:
    write_tables(tmp_path / "tables")
    for out in ("one", "two"):
        convert(tmp_path / "tables", tmp_path / out, years=2, views=2)
    one, two = (
        next(SeriesTable.open(str(tmp_path / out / "series")).batches(100))
        for out in ("one", "two")
    )
    assert np.array_equal(one.series, two.series)
    frames = [pd.read_parquet(tmp_path / out / "words.parquet") for out in ("one", "two")]
    pd.testing.assert_frame_equal(*frames)


@pytest.mark.slow
def test_the_commands_make_a_training_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tables(tmp_path / "tables")
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["real_land", str(tmp_path / "tables"), str(out)])
    main()
    assert capsys.readouterr().out == f"192 rows: {out}\n"
    words, ground, packed = (str(out / name) for name in ("words.parquet", "ground", "set"))
    assert run(["dataset", "texts", words, "--class-column", "class", "--out", ground]) == 0
    assert run(["dataset", "pack", str(out / "series"), "--ground", ground, "--out", packed]) == 0
    training_set = TrainingSet.open(packed)
    assert sum(training_set.rows(part) for part in SPLITS) == 192
    (whom,) = training_set.card.attribution  # the words name nobody
    assert "Copernicus" in whom
