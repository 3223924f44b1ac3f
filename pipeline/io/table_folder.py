"""The folder of a table that is being written: its input, and the parts that are done.

A description of the table's input is written first, so that a second start resumes the same table
or refuses. Parts follow; each is whole once its file is there. The table's card comes last.
"""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import OutputError
from pipeline.io.fingerprint import differences, fingerprint
from pipeline.io.store import Store, public_text, public_url

PART = "part-"
"""The beginning of the names of parts."""
_MAKING = "making.json"
_SUFFIX = ".parquet"


def begin_or_resume(store: Store, depends_on: Mapping[str, Any], what: str) -> None:
    """Begin a table in an empty folder, or resume the one that is there.

    Args:
        store: The table's folder.
        depends_on: The table's input, as JSON values.
        what: The kind of rows, for errors.

    Raises:
        OutputError: The folder holds a table of other input, or something else.
        OutputUnwritable: The folder takes no file.
    """
    place = public_url(store.root)
    if store.is_file():
        raise OutputError(place, "this is a file, not a folder", "Name a new or empty folder")
    if store.exists(_MAKING):
        held = _held(store)
        if fingerprint(held) != fingerprint(depends_on):
            differing = public_text("; ".join(differences(held, depends_on)))
            raise OutputError(
                place,
                f"it holds {what} made from other input ({differing})",
                "Name another folder, or set these back to resume what is there",
            )
    elif (strange := next(store.keys(""), None)) is not None:
        raise OutputError(
            place,
            f"the folder is not empty and holds no {what} (for one, {strange})",
            "Name a new or an empty folder",
        )
    # Also on resuming: a folder that takes no file is found now.
    making = json.dumps({"parts": dict(depends_on)}, indent=1, ensure_ascii=False)
    store.write(_MAKING, making.encode() + b"\n")


def parts_of(store: Store) -> list[str]:
    """The keys of the parts that are there, in order."""
    return [key for key in store.keys("") if key.startswith(PART) and key.endswith(_SUFFIX)]


def part_key(name: str) -> str:
    """The key of a part."""
    return f"{PART}{name}{_SUFFIX}"


def part_names(store: Store) -> set[str]:
    """The names of the parts that are there."""
    return {key.removeprefix(PART).removesuffix(_SUFFIX) for key in parts_of(store)}


def parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def reasons_csv(first: str, reasons: Mapping[str, str]) -> bytes:
    """A CSV file of names and the reasons why they are left out, sorted by name.

    Args:
        first: The head of the column of names.
        reasons: Reasons by name.
    """
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([(first, "reason"), *sorted(reasons.items())])
    return sink.getvalue().encode()


def _held(store: Store) -> dict[str, Any]:
    try:
        held: dict[str, Any] = json.loads(store.read(_MAKING))["parts"]
        return held
    except (ValueError, KeyError, TypeError):
        return {}
