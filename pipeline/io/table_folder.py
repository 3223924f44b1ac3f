"""The folder of a table while it is made: that it is of one making, and which parts are done.

What a table depends on is written first; parts follow, each of which is whole once its file is
there; the table's card comes last.
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
"""What the names of parts begin with."""
_MAKING = "making.json"
_SUFFIX = ".parquet"


def begin_or_go_on(store: Store, depends_on: Mapping[str, Any], what: str) -> None:
    """Begin a table of `what` in an empty folder, or go on with the one that is there.

    Raises OutputError where the folder holds what was made of other input, or something else;
    OutputUnwritable where it takes no file.
    """
    given = public_url(store.root)
    if store.is_file():
        raise OutputError(given, "this is a file, not a folder", "Name a new or empty folder")
    if store.exists(_MAKING):
        held = _held(store)
        if fingerprint(held) != fingerprint(depends_on):
            differing = public_text("; ".join(differences(held, depends_on)))
            raise OutputError(
                given,
                f"it holds {what} of other input ({differing})",
                "Name another folder, or set these back to go on with what is there",
            )
    elif (strange := next(store.keys(""), None)) is not None:
        raise OutputError(
            given,
            f"the folder is not empty and holds no {what} (for one, {strange})",
            "Name a new or an empty folder",
        )
    # Also when going on: that a folder takes no file shows now.
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
    """A CSV file of what is left out and why, sorted; `first` is the head of the first column."""
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([(first, "reason"), *sorted(reasons.items())])
    return sink.getvalue().encode()


def _held(store: Store) -> dict[str, Any]:
    try:
        held: dict[str, Any] = json.loads(store.read(_MAKING))["parts"]
        return held
    except (ValueError, KeyError, TypeError):
        return {}
