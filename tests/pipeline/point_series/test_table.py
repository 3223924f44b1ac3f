"""A series table, written in a folder or on S3 and read back; and its folder while it is made."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.encoder.preprocessing import BANDS
from pipeline.errors import DatasetError, OutputError
from pipeline.io.store import Store
from pipeline.point_series.table import SeriesRows, SeriesTable
from pipeline.point_series.table_writer import Notes, SeriesFolder
from pipeline.raster.read_stats import Fault, ReadStats


def rows(names: list[str], seed: int = 0) -> SeriesRows:
    rng = np.random.default_rng(seed)
    n = len(names)
    return SeriesRows(
        ids=names,
        lon=rng.uniform(-10, 30, n),
        lat=rng.uniform(35, 70, n),
        year=np.full(n, 2018, np.int32),
        series=rng.integers(0, 65536, (n, 12, 10)).astype(np.uint16),
        clear=rng.integers(0, 9, (n, 12)).astype(np.uint16),
        labels={"lc1": [f"A{i}" if i else None for i in range(n)]},
        photo_keys=[None if i % 2 else f"BE_{i}" for i in range(n)],
    )


def folder_at(address: str, **parts: object) -> SeriesFolder:
    return SeriesFolder(Store(address), {"points": "x", **parts}, BANDS, ("lc1",))


def finish(folder: SeriesFolder, points: int, left_out: dict[str, str] | None = None) -> None:
    folder.finish(
        {"kind": "test"}, points=points, first_month=1, licence="none", attribution="all",
        left_out=left_out or {},
    )  # fmt: skip


def read(address: str, size: int = 100) -> dict[str, SeriesRows]:
    return {b.ids[0]: b for b in SeriesTable.open(address).batches(size)}


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_what_was_written_is_read(tmp_path: Path, where: str, s3: str) -> None:
    address = str(tmp_path / "table") if where == "disk" else f"{s3}/table"
    folder = folder_at(address)
    folder.open()
    first, second = rows(["a", "b", "c"]), rows(["d", "e"], 1)
    folder.write_unit(
        "p",
        "2",
        second,
        Notes({"x": "cloud: all"}, ReadStats((Fault("f", "B02", "gone"),), 3), ("© us",)),
    )
    folder.write_unit("p", "1", first, Notes())
    folder.write_unit("p", "3", None, Notes({"y": "cloud: half"}))
    assert folder.finished_units("p") == {"1", "2", "3"}
    folder.finish_part("p")
    assert folder.finished_parts() == {"p"}
    with pytest.raises(DatasetError, match="no finished series table"):
        SeriesTable.open(address)
    finish(folder, 8, {"z": "no place"})

    table = SeriesTable.open(address)
    assert table.card.rows == 5
    assert table.card.points == 8
    assert table.card.bands == BANDS
    assert table.card.years == {2018: 5}
    assert table.card.left_out == {"cloud": 2, "no place": 1}
    assert table.card.attribution == "all; © us"
    assert table.card.made["rasters left out"] == 1
    assert table.card.fingerprint == folder.fingerprint
    lines = table.store.read("left-out.csv").decode().splitlines()
    assert lines == ["id,reason", "x,cloud: all", "y,cloud: half", "z,no place"]
    batches = list(table.batches(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    for name in ("lon", "lat", "year", "series", "clear"):
        found = np.concatenate([getattr(batch, name) for batch in batches])
        expected = np.concatenate([getattr(first, name), getattr(second, name)])
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert [one for b in batches for one in b.ids] == [*first.ids, *second.ids]
    assert [one for b in batches for one in b.labels["lc1"]] == [None, "A1", "A2", None, "A1"]
    assert [k for b in batches for k in b.photo_keys] == ["BE_0", None, "BE_2", "BE_0", None]
    assert not list(table.store.keys("units/"))


def test_the_columns_are_those_agreed(tmp_path: Path) -> None:
    folder = folder_at(str(tmp_path))
    folder.open()
    folder.write_unit("p", "1", rows(["a"]), Notes())
    folder.finish_part("p")
    found = pq.read_schema(tmp_path / "part-p.parquet")
    assert {f.name: str(f.type) for f in found} == {
        "id": "string",
        "lon": "double",
        "lat": "double",
        "year": "int32",
        "series": "fixed_size_list<element: uint16>[120]",
        "clear": "fixed_size_list<element: uint16>[12]",
        "label_lc1": "string",
        "photo_key": "string",
    }
    table = pq.read_table(tmp_path / "part-p.parquet")
    flat = np.array(table.column("series").to_pylist()[0], np.uint16)
    assert np.array_equal(flat.reshape(12, 10), rows(["a"]).series[0])


def test_rows_of_other_types_are_refused() -> None:
    good = rows(["a", "b"])
    for series, clear in (
        (good.series.astype(np.float32) * np.nan, good.clear),
        (good.series[:, :11], good.clear),
        (good.series, good.clear[:1]),
    ):
        with pytest.raises(ValueError, match="is not uint16"):
            SeriesRows(
                good.ids, good.lon, good.lat, good.year, series, clear, good.labels,
                good.photo_keys,
            ).table()  # fmt: skip


def test_a_folder_of_other_input_is_refused(tmp_path: Path) -> None:
    folder_at(str(tmp_path / "t"), first_month=1).open()
    folder_at(str(tmp_path / "t"), first_month=1).open()
    with pytest.raises(OutputError, match=r"series made from other input \(first_month: 1 → 3\)"):
        folder_at(str(tmp_path / "t"), first_month=3).open()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"for one, thesis\.txt"):
        folder_at(str(tmp_path / "s")).open()
    with pytest.raises(OutputError, match="this is a file"):
        folder_at(str(tmp_path / "s" / "thesis.txt")).open()


def test_units_left_after_an_interruption_are_not_read_twice(tmp_path: Path) -> None:
    folder = folder_at(str(tmp_path))
    folder.open()
    folder.write_unit("p", "1", rows(["a"]), Notes())
    units = {key: folder.store.read(key) for key in folder.store.keys("units/")}
    folder.finish_part("p")
    for key, content in units.items():  # as when it ended before they were removed
        folder.store.write(key, content)
    finish(folder, 1)
    assert [one for b in SeriesTable.open(str(tmp_path)).batches() for one in b.ids] == ["a"]
    assert not list(folder.store.keys("units/"))


def test_a_table_without_series_is_none(tmp_path: Path) -> None:
    folder = folder_at(str(tmp_path))
    folder.open()
    folder.write_unit("p", "1", None, Notes({"a": "no acquisitions: none in 2018"}))
    folder.finish_part("p")
    with pytest.raises(OutputError, match=r"none of 1 points has a series.*none in 2018"):
        finish(folder, 1)


def test_damaged_tables_are_refused(tmp_path: Path) -> None:
    folder = folder_at(str(tmp_path))
    folder.open()
    folder.write_unit("p", "1", rows(["a", "b"]), Notes())
    folder.finish_part("p")
    finish(folder, 2)
    part, card = tmp_path / "part-p.parquet", tmp_path / "series.json"
    whole = part.read_bytes()
    part.write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match="the file is damaged"):
        read(str(tmp_path))
    pq.write_table(pq.read_table(io.BytesIO(whole)).drop_columns(["clear"]), part)
    with pytest.raises(DatasetError, match="its column clear is not there"):
        read(str(tmp_path))
    part.write_bytes(whole)
    known = json.loads(card.read_text())
    card.write_text(json.dumps(known | {"bands": ["B02"]}))
    with pytest.raises(DatasetError, match=r"its column series is .*120.*, not .*12"):
        read(str(tmp_path))
    card.write_text(json.dumps(known | {"format": 2}))
    with pytest.raises(DatasetError, match=r"series\.json: the file is damaged \(format: "):
        read(str(tmp_path))
