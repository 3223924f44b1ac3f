"""The ground table: a folder of embeddings of what was seen on the ground, photos or words.

`ground.json` says what it is; the rows lie in `part-*.parquet`, one a view, with the columns that
`ground_schema` gives. It is there once `ground.json` is.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from models.pretraining.batch import NO_KEY
from pipeline.errors import DatasetError
from pipeline.io.store import Store, public_url
from pipeline.io.table_folder import parts_of
from pipeline.point_series.table import fixed_lists

GROUND_CARD = "ground.json"
UNREADABLE = "unreadable.csv"

_ROUNDED = 0.01  # that a length of float16 numbers may be off

_MAKE = "Make one by `timesen dataset photos` or `timesen dataset texts`"


class GroundCard(BaseModel):
    """What a ground table is: `ground.json`.

    `tower` and `revision` are the spec and the weights of what embedded it, into `dim` dimensions.
    `rows` are the views, of `points` points, at most `views` of one. `left_out` counts what has no
    row, by reason; photos that can't be read are named in `unreadable.csv`. `made` says of what;
    `fingerprint` is a hash over all that the embeddings depend on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    kind: Literal["photos", "texts"]
    tower: str
    revision: str
    dim: int
    rows: int
    points: int
    views: int
    left_out: dict[str, int]
    made: dict[str, Any]
    attribution: str
    fingerprint: str
    versions: dict[str, str]
    created: str


def ground_schema(dim: int) -> pa.Schema:
    """The columns of a part.

    `id` is that of the point, or of its photos (`photo_key` in a series table). `view` is N, E, S
    or W for LUCAS photos, else the photo's name or the text's number. `embedding` is of unit
    length. Equal `key`s depict the same; -1 is the same as nothing.
    """
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("view", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float16(), dim), nullable=False),
            pa.field("text", pa.string()),
            pa.field("key", pa.int64(), nullable=False),
        ]
    )


def ground_rows(
    ids: Sequence[str],
    views: Sequence[str],
    embeddings: np.ndarray,
    keys: Sequence[int],
    texts: Sequence[str | None] | None = None,
) -> pa.Table:
    """Rows of `ground_schema`; `embeddings` are float (n, dim).

    Raises DatasetError where one is not of unit length, as a damaged tower's may be.
    """
    wrong = ~(np.abs(np.linalg.norm(embeddings.astype(np.float32), axis=1) - 1) < _ROUNDED)
    if wrong.any():
        raise DatasetError(
            f"the embedding of {ids[int(wrong.argmax())]}",
            f"it and {int(wrong.sum()) - 1} others are not of unit length",
            "Use a tower whose weights are whole",
        )
    columns = [
        pa.array(ids, pa.string()),
        pa.array(views, pa.string()),
        fixed_lists(embeddings.astype(np.float16)),
        pa.array([None] * len(ids) if texts is None else texts, pa.string()),
        pa.array(keys, pa.int64()),
    ]
    return pa.Table.from_arrays(columns, schema=ground_schema(embeddings.shape[1]))


def key_of(text: str | None) -> int:
    """The key of what a text says, 0 or more, the same in every table; `NO_KEY` for None."""
    if text is None:
        return NO_KEY
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class GroundTable:
    """A finished ground table: its card, and where its rows are."""

    store: Store
    card: GroundCard

    @classmethod
    def open(cls, address: str) -> "GroundTable":
        """The table in a folder or at s3://…; raises DatasetError where there is none."""
        store = Store(address)
        given = public_url(store.root)
        try:
            return cls(store, GroundCard.model_validate(json.loads(store.read(GROUND_CARD))))
        except (FileNotFoundError, NotADirectoryError):
            raise DatasetError(
                given, f"there is no finished ground table here, it has no {GROUND_CARD}", _MAKE
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "it"
            raise DatasetError(
                given, f"its {GROUND_CARD} is damaged ({where}: {first['msg']})", _MAKE
            ) from None
        except ValueError:
            raise DatasetError(
                given, f"its {GROUND_CARD} is damaged, it is no JSON", _MAKE
            ) from None

    def tables(self) -> Iterator[pa.Table]:
        """All rows, a part at a time; raises DatasetError where one is damaged or of others."""
        wanted = ground_schema(self.card.dim)
        for key in parts_of(self.store):
            given = public_url(self.store.path(key))
            try:
                table = pq.read_table(io.BytesIO(self.store.read(key)))
            except (pa.ArrowException, OSError) as error:
                raise DatasetError(
                    given, f"the file is damaged ({str(error).splitlines()[0]})", _MAKE
                ) from None
            if not table.schema.equals(wanted):
                raise DatasetError(given, "its columns are not those of this table", _MAKE)
            yield table


def counts_of(tables: Iterator[pa.Table]) -> Mapping[str, int]:
    """How many rows, points, and views of one point at most there are in parts."""
    ids = [pa.array([], pa.string())]
    ids += [chunk for table in tables for chunk in table["id"].chunks]
    counted = pa.chunked_array(ids).value_counts()
    views = counted.field("counts").to_numpy()
    return {
        "rows": int(views.sum()),
        "points": len(views),
        "views": int(views.max(initial=0)),
    }
