"""The parts of a table as Parquet files."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.io.table_folder import from_parquet, to_parquet

ROWS = pa.table({"id": ["a", "b"], "value": [1, 2]})


def test_rows_and_notes_come_back() -> None:
    assert from_parquet(to_parquet(ROWS, {"left": 1})) == (ROWS, {"left": 1})
    rows, _ = from_parquet(to_parquet(ROWS, {}), ["id"])
    assert rows.column_names == ["id"]


def test_notes_of_ground_tables_that_earlier_versions_began() -> None:
    earlier = io.BytesIO()
    pq.write_table(ROWS.replace_schema_metadata({b"unreadable": b'{"a.jpg": "damaged"}'}), earlier)
    assert from_parquet(earlier.getvalue()) == (ROWS, {"a.jpg": "damaged"})
