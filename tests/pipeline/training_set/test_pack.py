import csv
import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.encoder.preprocessing import BANDS
from pipeline.errors import DatasetError, OutputError
from pipeline.evaluation.samples import open_samples
from pipeline.grid.blocks import blocks_of
from pipeline.ground_views.table import GroundTable, ground_rows, ground_schema
from pipeline.ground_views.table_writer import GroundFolder
from pipeline.io.store import Store
from pipeline.point_series.table import SeriesRows, SeriesTable
from pipeline.point_series.table_writer import Notes, SeriesFolder
from pipeline.training_set.loader import TrainingSet
from pipeline.training_set.pack import pack_training_set
from pipeline.training_set.spatial_split import SPLITS, SplitRule

RULE = SplitRule(block_km=30, buffer_km=6, seed=3)
DIM = 8
COUNT = 300
FINGERPRINT = "2872984e7b57939b7c934d899db8f586d5f3ea0c5086974a5a8363cbd6fd8a43"


def write_series(
    address: str,
    ids: Sequence[str],
    *,
    bands: tuple[str, ...] = BANDS,
    labels: tuple[str, ...] = ("cover",),
    photo_keys: Sequence[str | None] | None = None,
    missing: Sequence[str] = (),
    seed: int = 0,
) -> None:
    """A series table of random series over a piece of Europe, in two parts."""
    draw = np.random.default_rng(seed)
    n = len(ids)
    series = draw.integers(0, 5000, (n, 12, len(bands)), dtype=np.uint16)
    series[draw.random((n, 12)) < 0.2] = 0
    series[np.isin(ids, missing)] = 0
    rows = SeriesRows(
        ids,
        draw.uniform(3, 7, n),
        draw.uniform(49, 52, n),
        np.full(n, 2018, np.int32),
        series,
        series.any(axis=-1).astype(np.uint16),
        {name: [("wood", "water", None)[i % 3] for i in range(n)] for name in labels},
        photo_keys or [None] * n,
    )
    folder = SeriesFolder(Store(address), {"seed": seed}, bands, labels)
    folder.open()
    half = n // 2
    for number, part in enumerate((slice(0, half), slice(half, n))):
        some = SeriesRows(
            ids[part],
            rows.lon[part],
            rows.lat[part],
            rows.year[part],
            series[part],
            rows.clear[part],
            {name: of[part] for name, of in rows.labels.items()},
            rows.photo_keys[part],
        )
        folder.write_unit(f"2018-{number}", "0-0", some, Notes())
        folder.finish_part(f"2018-{number}")
    folder.finish(
        {"kind": "made"},
        points=n,
        first_month=1,
        licence="none",
        attribution="of series",
        left_out={},
    )


def write_ground(address: str, views: Sequence[tuple[str, str]], seed: int = 1) -> None:
    """A ground table of random embeddings, in two parts."""
    draw = np.random.default_rng(seed)
    made = draw.standard_normal((len(views), DIM))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    folder = GroundFolder(Store(address), {"seed": seed})
    folder.open()
    ids, names = zip(*views, strict=True)
    for number in range(2):
        part = slice(number, None, 2)
        keys = [int(name[1:]) % 3 if name.startswith("p") else -1 for name in ids[part]]
        folder.write_part(str(number), ground_rows(ids[part], names[part], made[part], keys), {})
    folder.finish("photos", ("clip:made", "r", DIM), {}, {}, "of photos")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """300 series and the views of 280, some by the photos' key, some of no point at all."""
    folder = tmp_path_factory.mktemp("tables")
    ids = [f"p{number}" for number in range(COUNT)]
    keys = [f"FR_{number}" if number % 2 else None for number in range(COUNT)]
    write_series(str(folder / "series"), ids, photo_keys=keys, missing=["p7", "p8"])
    views = []
    for number in range(280):
        name = f"FR_{number}" if number % 2 else f"p{number}"
        views += [(name, view) for view in "NESW"[: 1 + number % 4]]
    views += [("FR_9999", "N"), ("FR_9999", "S"), ("x", "N")]
    np.random.default_rng(2).shuffle(views)
    write_ground(str(folder / "ground"), [tuple(view) for view in views])
    return str(folder / "series"), str(folder / "ground")


@pytest.fixture(scope="module")
def packed(tables: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    out = tmp_path_factory.mktemp("packed") / "set"
    pack_training_set([tables[0]], tables[1], str(out), RULE, shard_rows=40)
    return TrainingSet.open(str(out))


def _rows(dataset: TrainingSet, split: str) -> list[dict[str, object]]:
    return [
        row
        for shard in dataset.card.shards(split)
        for row in pq.read_table(dataset.store.path(shard.key)).to_pylist()
    ]


def test_every_row_is_a_series_with_its_own_views(
    packed: TrainingSet, tables: tuple[str, str]
) -> None:
    """Against the tables, row by row, the plain way."""
    views: dict[str, list[dict[str, object]]] = {}
    for table in GroundTable.open(tables[1]).tables():
        for view in table.to_pylist():
            views.setdefault(view["id"], []).append(view)
    series = {}
    for rows in SeriesTable.open(tables[0]).batches():
        for row in range(len(rows)):
            series[rows.ids[row]] = (rows, row)
    found = [row for split in SPLITS for row in _rows(packed, split)]
    assert len({row["id"] for row in found}) == len(found) > 200
    for row in found:
        of, place = series[row["id"]]
        assert row["series"] == of.series[place].ravel().tolist()
        assert row["clear"] == of.clear[place].tolist()
        assert (row["lon"], row["lat"]) == (of.lon[place], of.lat[place])
        assert row["label_cover"] == of.labels["cover"][place]
        assert row["photo_key"] == of.photo_keys[place]
        own = sorted(views[row["photo_key"] or row["id"]], key=lambda view: view["view"])
        assert row["views"] == [view["view"] for view in own]
        assert row["keys"] == [view["key"] for view in own]
        stored = np.frombuffer(b"".join(row["ground"]), np.float16).reshape(len(own), DIM)
        np.testing.assert_array_equal(stored, np.array([view["embedding"] for view in own]))


def test_what_is_not_in_the_set_is_named_and_counted(packed: TrainingSet) -> None:
    content = packed.store.read("left-out.csv").decode()
    named = {row["id"]: row["reason"] for row in csv.DictReader(io.StringIO(content))}
    kept = {row["id"] for split in SPLITS for row in _rows(packed, split)}
    assert named.keys() & kept == set()
    of_points = {name for name in named if name not in ("FR_9999", "x", "FR_7", "FR_8")}
    assert kept | of_points == {f"p{number}" for number in range(COUNT)}
    assert Counter(named.values()) == packed.card.left_out
    left_out = dict(packed.card.left_out)
    assert 0 < left_out.pop("too near to a part that is held out") < 60
    # Those of p7 and p8 are photos of no series: these never were seen.
    assert left_out == {
        "ground view of no series": 3,
        "no ground view": 20,
        "no clear observation in any month": 2,
    }
    assert {name for name, reason in named.items() if "no series" in reason} == {
        "FR_9999",
        "x",
        "FR_7",
    }


def test_further_keys_come_into_batches_without_a_view(
    tables: tuple[str, str], packed: TrainingSet, tmp_path: Path
) -> None:
    """The same tables, but that of some points further keys may be true."""
    source = GroundTable.open(tables[1])
    rows = pa.concat_tables(source.tables())
    rows = rows.sort_by([("id", "ascending"), ("view", "ascending")])
    ids = rows["id"].to_pylist()
    firsts = [i == 0 or ids[i - 1] != ids[i] for i in range(len(ids))]
    possible = [
        [1000 + n for n in range(len(name) % 3)] if first else []
        for name, first in zip(ids, firsts, strict=True)
    ]
    folder = GroundFolder(Store(str(tmp_path / "ground")), {})
    folder.open()
    columns = rows.append_column("possible", pa.array(possible, pa.list_(pa.int64())))
    folder.write_part("0", columns.cast(ground_schema(DIM, True)), {})
    folder.finish("photos", ("clip:made", "r", DIM), {}, {}, "of photos", 2)
    out = str(tmp_path / "set")
    pack_training_set([tables[0]], str(tmp_path / "ground"), out, RULE, shard_rows=40)
    made = TrainingSet.open(out)
    assert made.card.ground.possible == 2
    of_view = {name: found for name, found in zip(ids, possible, strict=True) if found}
    whole: dict[str, Any] = {"batch": 16, "seed": 0, "epoch": 0, "drop_last": False}
    before = packed.batches("train", **whole)
    for batch, old in zip(made.batches("train", **whole), before, strict=True):
        assert batch.ids == old.ids
        assert batch.keys.shape == (len(batch), old.keys.shape[1] + 2)
        np.testing.assert_array_equal(batch.keys[:, :-2], old.keys)
        np.testing.assert_array_equal(batch.ground, old.ground)
        for name, keys in zip(batch.ids, batch.keys[:, -2:].tolist(), strict=True):
            number = int(name[1:])
            found = of_view.get(f"FR_{number}" if number % 2 else name, [])
            assert keys == [*found, *[-1] * (2 - len(found))]
    described = open_samples(out, BANDS, RULE).read("train")
    assert described.keys is not None
    assert described.keys.shape[1] == made.card.ground.views


def test_a_set_without_further_keys_has_the_fingerprint_of_earlier_versions(
    packed: TrainingSet,
) -> None:
    """Taken from a set that was packed before sets could have further keys."""
    assert packed.card.fingerprint == FINGERPRINT
    assert (
        "possible"
        not in pq.read_schema(packed.store.path(packed.card.shards("train")[0].key)).names
    )


def test_parts_are_of_whole_blocks_and_shuffled(packed: TrainingSet) -> None:
    blocks = {}
    for split in SPLITS:
        rows = _rows(packed, split)
        lon, lat = (np.array([row[axis] for row in rows]) for axis in ("lon", "lat"))
        assert [row["block"] for row in rows] == blocks_of(lon, lat, 30).astype(str).tolist()
        blocks[split] = {row["block"] for row in rows}
        numbers = np.array([int(row["id"][1:]) for row in rows])
        assert abs(np.corrcoef(numbers, np.arange(len(numbers)))[0, 1]) < 0.5
    assert not blocks["train"] & blocks["validation"]
    assert not (blocks["train"] | blocks["validation"]) & blocks["test"]
    assert [shard.rows for shard in packed.card.shards("train")][:-1] == [40] * (
        len(packed.card.shards("train")) - 1
    )


def test_the_card_counts_what_is_there(packed: TrainingSet) -> None:
    card = packed.card
    rows = {split: _rows(packed, split) for split in SPLITS}
    assert {split: card.rows(split) for split in SPLITS} == {s: len(r) for s, r in rows.items()}
    assert card.labels == {"cover": ("water", "wood")}
    for split in SPLITS:
        assert card.counts["cover"][split] == Counter(r["label_cover"] or "" for r in rows[split])
        for shard in card.shards(split):
            content = packed.store.read(shard.key)
            assert hashlib.sha256(content).hexdigest() == shard.sha256
    assert (card.ground.dim, card.ground.views, card.ground.tower) == (DIM, 4, "clip:made")
    assert card.attribution == ("of series", "of photos")
    assert card.bands == BANDS
    assert card.split_rule == RULE
    series = np.array([row["series"] for row in rows["train"]]).reshape(-1, 12, 10)
    for number in range(10):
        seen = series[..., number][series[..., number] > 0]
        assert card.statistics.mean[number] == pytest.approx(seen.mean())
        assert card.statistics.std[number] == pytest.approx(seen.std())
        for percent in (1, 50, 99):
            wanted = np.quantile(seen, percent / 100, method="inverted_cdf")
            assert card.statistics.quantiles[str(percent)][number] == wanted
    assert card.statistics.missing == pytest.approx((series == 0).mean())


def test_the_same_tables_make_the_same_set(
    packed: TrainingSet, tables: tuple[str, str], tmp_path: Path, s3: str
) -> None:
    for out in (str(tmp_path / "again"), f"{s3}/packed/set"):
        again = pack_training_set([tables[0]], tables[1], out, RULE, shard_rows=40)
        assert again.fingerprint == packed.card.fingerprint
        assert again.splits == packed.card.splits, "byte for byte"
        names = [
            [list(batch.ids) for batch in dataset.batches("train", batch=16, seed=1, epoch=0)]
            for dataset in (packed, TrainingSet.open(out))
        ]
        assert names[0] == names[1]
    other = SplitRule(block_km=30, buffer_km=6, seed=4)
    moved = pack_training_set([tables[0]], tables[1], str(tmp_path / "other"), other, shard_rows=40)
    assert moved.fingerprint != packed.card.fingerprint


def test_several_tables_are_packed_together(tmp_path: Path, tables: tuple[str, str]) -> None:
    ids = [f"q{number}" for number in range(60)]
    write_series(str(tmp_path / "more"), ids, labels=("crop",), seed=5)
    write_ground(str(tmp_path / "ground"), [(name, "N") for name in ids] + [("p1", "N")])
    card = pack_training_set(
        [tables[0], str(tmp_path / "more")], str(tmp_path / "ground"), str(tmp_path / "set"), RULE
    )
    assert set(card.labels) == {"cover", "crop"}
    assert sum(map(card.rows, SPLITS)) == 61 - card.left_out.get(
        "too near to a part that is held out", 0
    )
    assert len(card.sources["series"]) == 2


def test_tables_that_do_not_fit_are_refused(tmp_path: Path, tables: tuple[str, str]) -> None:
    series, ground = tables
    out = str(tmp_path / "set")
    write_series(str(tmp_path / "turned"), ["a", "b"], bands=BANDS[::-1])
    with pytest.raises(DatasetError, match=r"turned: its bands are B12, B11.*same order"):
        pack_training_set([series, str(tmp_path / "turned")], ground, out, RULE)
    with pytest.raises(DatasetError, match=r"series of p0, p1, p2, … \(298\): 298 ids are there"):
        pack_training_set([series, series], ground, out, RULE)
    write_ground(str(tmp_path / "strange"), [("a", "N"), ("b", "N"), ("c", "N"), ("d", "N")])
    with pytest.raises(DatasetError, match=r"views of a, b, c, … \(4\), and series of p0.*not one"):
        pack_training_set([series], str(tmp_path / "strange"), out, RULE)
    with pytest.raises(ValueError, match=r"blocks of 5000 km: .*leaves validation, test empty"):
        pack_training_set([series], ground, out, SplitRule(block_km=5000))
    with pytest.raises(DatasetError, match="no finished ground table"):
        pack_training_set([series], series, out, RULE)
    with pytest.raises(ValueError, match="no finished series table"):
        pack_training_set([ground], ground, out, RULE)
    assert not Path(out).exists()


def test_a_set_that_is_there_is_kept_and_one_that_was_broken_off_is_made_anew(
    tmp_path: Path, tables: tuple[str, str], packed: TrainingSet
) -> None:
    series, ground = tables
    out = tmp_path / "set"

    def broken_off(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_training_set([series], ground, str(out), RULE, shard_rows=7, progress=broken_off)
    assert list((out / "shards").iterdir())
    with pytest.raises(DatasetError, match="no finished training set here"):
        TrainingSet.open(str(out))
    shares: list[float] = []
    card = pack_training_set(
        [series], ground, str(out), RULE, shard_rows=40, progress=shares.append
    )
    assert card.fingerprint == packed.card.fingerprint
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(list((out / "shards").iterdir())) == sum(map(len, card.splits.values()))
    with pytest.raises(OutputError, match="there is a training set already"):
        pack_training_set([series], ground, str(out), RULE)


def test_leaves_no_scratch_behind(
    tmp_path: Path, tables: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    pack_training_set([tables[0]], tables[1], str(tmp_path / "set"), RULE)
    assert list((tmp_path / "scratch").iterdir()) == []
