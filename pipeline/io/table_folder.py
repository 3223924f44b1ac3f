"""Tables kept as a folder of Parquet parts: how they are written, resumed and opened again.

A description of the table's input is written first, so that a second start resumes the same table
or refuses. Parts follow; each is whole once its file is there. The table's card comes last.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from models.files.json_text import parse_json
from models.validation_words import plain_problem
from models.visible_text import visible_text
from pipeline.errors import DatasetError, OutputError, OwnershipLost
from pipeline.io.fingerprint import differences, fingerprint, now, software_versions
from pipeline.io.store import Store, public_text, public_url

_INPUT = "making.json"
_PREFIX, _SUFFIX = "part-", ".parquet"
_NOTES = b"timesen"
_EARLIER_NOTES = b"unreadable"  # the key in parts of ground tables that earlier versions began

AnyCard = TypeVar("AnyCard", bound=BaseModel)


@dataclass(frozen=True)
class TableFolder:
    """A table's folder while it is written.

    Attributes:
        store: The folder.
        depends_on: All that the table depends on, as JSON values.
        card_key: The key of the table's card.
        rows_name: The kind of rows, for errors.
    """

    store: Store
    depends_on: Mapping[str, Any]
    card_key: ClassVar[str]
    rows_name: ClassVar[str]

    @property
    def fingerprint(self) -> str:
        """A hash over all that the table depends on."""
        return fingerprint(self.depends_on)

    def open(self) -> None:
        """Begin a table in an empty folder, or resume the one that is there.

        Raises:
            OutputError: The folder holds a table of other input, or something else.
            OutputUnwritable: The folder takes no file.
        """
        place = public_url(self.store.root)
        if self.store.is_file():
            raise OutputError(place, "this is a file, not a folder", "Name a new or empty folder")
        content = json.dumps({"parts": dict(self.depends_on)}, indent=1, ensure_ascii=False)
        described = content.encode() + b"\n"
        if not self.store.exists(_INPUT):
            if (strange := next(self.store.keys(""), None)) is not None:
                raise OutputError(
                    place,
                    f"the folder is not empty and holds no {self.rows_name} (for one, {strange})",
                    "Name a new or an empty folder",
                )
            if self.store.create(_INPUT, described):  # of several processes, one begins a table
                return
        held = _input_of(self.store)
        if fingerprint(held) != self.fingerprint:
            differing = public_text("; ".join(differences(held, self.depends_on)))
            raise OutputError(
                place,
                f"it holds {self.rows_name} made from other input ({differing})",
                "Name another folder, or set these back to resume what is there",
            )
        self.store.remove_abandoned_parts()
        self.store.write(_INPUT, described)  # a folder that takes no file is found now

    def is_finished(self) -> bool:
        """Whether the whole table is there already."""
        return self.store.exists(self.card_key)

    def finished_parts(self) -> set[str]:
        """The names of the parts that are there."""
        keys = part_keys(self.store)
        return {key.removeprefix(_PREFIX).removesuffix(_SUFFIX) for key in keys}

    def write_part(self, name: str, rows: pa.Table, notes: Any) -> None:
        """Write a part, with notes on it as JSON values.

        Raises OwnershipLost where the table's folder was removed, OutputUnwritable where it takes
        no file.
        """
        self._require_held()
        self.store.write(f"{_PREFIX}{name}{_SUFFIX}", to_parquet(rows, notes))

    def read_parts(self, columns: Sequence[str]) -> Iterator[tuple[pa.Table, Any]]:
        """Some columns of each part that is there, in order, and the notes on it."""
        for key in part_keys(self.store):
            yield from_parquet(self.store.read(key), columns)

    def origin(self) -> dict[str, Any]:
        """The fields of a card that say what the table depends on, and when it was made."""
        return {
            "fingerprint": self.fingerprint,
            "versions": software_versions(),
            "created": now(),
        }

    def write_card(self, card: BaseModel) -> None:
        """Write the card, which makes the folder a finished table. Raises as `write_part`."""
        self._require_held()
        self.store.write(self.card_key, card.model_dump_json(indent=2).encode() + b"\n")

    def _require_held(self) -> None:
        if not self.store.exists(_INPUT) or fingerprint(_input_of(self.store)) != self.fingerprint:
            raise OwnershipLost(
                public_url(self.store.root),
                f"its {_INPUT} has gone or is another's: somebody removed or emptied the folder "
                f"while {self.rows_name} were written to it",
                "Nothing more was written. Start again to make them anew",
            )


def part_keys(store: Store) -> list[str]:
    """The keys of the parts that are there, in order."""
    return [key for key in store.keys("") if key.startswith(_PREFIX) and key.endswith(_SUFFIX)]


def to_parquet(table: pa.Table, notes: Any) -> bytes:
    """A table as the bytes of a Parquet file, which also keeps notes (JSON values)."""
    sink = io.BytesIO()
    noted = table.replace_schema_metadata({_NOTES: json.dumps(notes).encode()})
    pq.write_table(noted, sink, compression="zstd")
    return sink.getvalue()


def from_parquet(content: bytes, columns: Sequence[str] | None = None) -> tuple[pa.Table, Any]:
    """A table, or some of its columns, and the notes that `to_parquet` kept with it."""
    table = pq.read_table(io.BytesIO(content), columns=columns)
    metadata = table.schema.metadata
    notes = metadata.get(_NOTES) or metadata[_EARLIER_NOTES]
    return table.replace_schema_metadata(None), parse_json(notes)


def reasons_csv(first: str, reasons: Mapping[str, str]) -> bytes:
    """A CSV file of names and the reasons why they are left out, sorted by name.

    `first` is the head of the column of names.
    """
    sink = io.StringIO()
    rows = [(visible_text(name), visible_text(reason)) for name, reason in sorted(reasons.items())]
    csv.writer(sink, lineterminator="\n").writerows([(first, "reason"), *rows])
    return sink.getvalue().encode()


def open_card(store: Store, key: str, kind: type[AnyCard], table_name: str, remedy: str) -> AnyCard:
    """The card of a finished table.

    Args:
        store: The table's folder.
        key: The card's key.
        kind: The card's class.
        table_name: The kind of table, for errors.
        remedy: The last part of an error's message.

    Raises:
        DatasetError: There is no card, or it is damaged.
    """
    try:
        return kind.model_validate_json(store.read(key))
    except (FileNotFoundError, NotADirectoryError):
        problem = f"there is no finished {table_name} here, it has no {key}"
        raise DatasetError(public_url(store.root), problem, remedy) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{place}: " for place in first["loc"])
        problem = f"the file is damaged ({where}{plain_problem(first)})"
        raise DatasetError(public_url(store.path(key)), problem, remedy) from None


@contextmanager
def open_part(store: Store, key: str, wanted: pa.Schema, remedy: str) -> Iterator[pq.ParquetFile]:
    """A part of a finished table, which has the wanted columns, for reading.

    Args:
        store: The table's folder.
        key: The part's key.
        wanted: The names and types of the columns.
        remedy: The last part of an error's message.

    Raises:
        DatasetError: The part is damaged, or a column is missing or of another type.
    """
    place = public_url(store.path(key))
    try:
        content = io.BytesIO(store.read(key)) if store.is_remote else store.path(key)
        file = pq.ParquetFile(content, memory_map=not store.is_remote)
        types = {column.name: column.type for column in file.schema_arrow}
        for column in wanted:
            if (kind := types.get(column.name, "not there")) != column.type:
                problem = f"its column {column.name} is {kind}, not {column.type}"
                raise DatasetError(place, problem, remedy)
        yield file
    except (pa.ArrowException, OSError) as error:
        problem = f"the file is damaged ({str(error).splitlines()[0]})"
        raise DatasetError(place, problem, remedy) from None


def _input_of(store: Store) -> dict[str, Any]:
    try:
        held: dict[str, Any] = parse_json(store.read(_INPUT))["parts"]
        return held
    except (ValueError, KeyError, TypeError):
        return {}
