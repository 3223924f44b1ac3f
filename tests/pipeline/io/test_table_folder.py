"""Tables as folders of Parquet parts, and who may write to them."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from pipeline.errors import OutputError, OwnershipLost
from pipeline.io.store import Store
from pipeline.io.table_folder import TableFolder, from_parquet, to_parquet

ROWS = pa.table({"id": ["a", "b"], "value": [1, 2]})


def test_rows_and_notes_come_back() -> None:
    assert from_parquet(to_parquet(ROWS, {"left": 1})) == (ROWS, {"left": 1})
    rows, _ = from_parquet(to_parquet(ROWS, {}), ["id"])
    assert rows.column_names == ["id"]


def test_notes_of_ground_tables_that_earlier_versions_began() -> None:
    earlier = io.BytesIO()
    pq.write_table(ROWS.replace_schema_metadata({b"unreadable": b'{"a.jpg": "damaged"}'}), earlier)
    assert from_parquet(earlier.getvalue()) == (ROWS, {"a.jpg": "damaged"})


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "table"))
    return Store(f"{request.getfixturevalue('s3')}/{tmp_path.name}/table")


class _Card(BaseModel):
    rows: int = 2


@dataclass(frozen=True)
class _Table(TableFolder):
    card_key = "card.json"
    rows_name = "rows"


def test_of_tables_of_other_input_that_begin_at_once_one_is_made(store: Store) -> None:
    def begin(number: int) -> bool:
        try:
            _Table(store, {"input": number}).open()
        except OutputError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(begin, range(8)))
    assert begun.count(True) == 1
    _Table(store, {"input": begun.index(True)}).write_part("0", ROWS, {})


def test_a_table_whose_folder_was_removed_is_not_made_anew(store: Store) -> None:
    table = _Table(store, {"input": 1})
    table.open()
    table.write_part("0", ROWS, {})
    for key in list(store.keys()):
        store.remove(key)
    for write in (lambda: table.write_part("1", ROWS, {}), lambda: table.write_card(_Card())):
        with pytest.raises(OwnershipLost, match="somebody removed or emptied the folder"):
            write()
    assert list(store.keys()) == []
    _Table(store, {"input": 2}).open()
    with pytest.raises(OwnershipLost, match="another's"):
        table.write_part("1", ROWS, {})
