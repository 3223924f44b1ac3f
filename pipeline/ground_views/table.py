"""The ground table: a folder of embeddings of photos taken on the ground, or of texts.

`ground.json` is its card. Its rows lie in `part-*.parquet`, one row per view, with the columns of
`ground_schema`. The table is finished once its card is there.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from models.pretraining.batch import NO_KEY
from pipeline.errors import DatasetError
from pipeline.io.store import Store
from pipeline.io.table_folder import open_card, open_part, part_keys
from pipeline.point_series.table import fixed_lists

GROUND_CARD = "ground.json"
UNREADABLE = "unreadable.csv"

_ROUNDING = 0.01  # by which the length of float16 embeddings may differ from 1
_REMEDY = "Make one by `timesen dataset photos` or `timesen dataset texts`"


class GroundCard(BaseModel):
    """The card of a ground table, `ground.json`.

    Attributes:
        tower: The spec of the tower that embedded the views, of weights `revision`, into `dim`
            dimensions.
        rows: How many views there are, of `points` points, at most `views` of one point.
        possible: How many further keys, which may be true of it, a point has at most.
        left_out: Counts of photos or texts without a row, by reason; `unreadable.csv` names photos
            that cannot be read.
        made: The sources of the table.
        fingerprint: A hash over all that the embeddings depend on.
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
    possible: int = 0
    left_out: dict[str, int]
    made: dict[str, Any]
    attribution: str
    fingerprint: str
    versions: dict[str, str]
    created: str


def ground_schema(dim: int, with_possible: bool = False) -> pa.Schema:
    """The columns of a part.

    `id` is that of the point, or its `photo_key` in a series table. `view` is N, E, S or W for
    LUCAS photos, else the photo's name or the text's number. `embedding` is of unit length. Views
    with equal `key` depict the same; `NO_KEY` is equal to nothing. `possible`, if it is there, has
    further keys that may be true of the point, in the row of its first view alone.
    """
    possible = [pa.field("possible", pa.list_(pa.int64()), nullable=False)]
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("view", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float16(), dim), nullable=False),
            pa.field("text", pa.string()),
            pa.field("key", pa.int64(), nullable=False),
            *(possible if with_possible else []),
        ]
    )


def ground_rows(
    ids: Sequence[str],
    views: Sequence[str],
    embeddings: np.ndarray,
    keys: Sequence[int],
    texts: Sequence[str | None] | None = None,
    possible: Sequence[Sequence[int]] | None = None,
) -> pa.Table:
    """Rows of `ground_schema`, with the column `possible` if it is given.

    `embeddings` are float (n, dim).

    Raises:
        DatasetError: An embedding is not of unit length, as a damaged tower's may be.
    """
    wrong = ~(np.abs(np.linalg.norm(embeddings.astype(np.float32), axis=1) - 1) < _ROUNDING)
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
        *([] if possible is None else [pa.array(possible, pa.list_(pa.int64()))]),
    ]
    schema = ground_schema(embeddings.shape[1], possible is not None)
    return pa.Table.from_arrays(columns, schema=schema)


def key_of(text: str | None) -> int:
    """The key of views with this text, 0 or more and the same in every table; None has `NO_KEY`."""
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
        """The table in a folder or at `s3://…`. Raises DatasetError where there is none."""
        store = Store(address)
        return cls(store, open_card(store, GROUND_CARD, GroundCard, "ground table", _REMEDY))

    def tables(self) -> Iterator[pa.Table]:
        """All rows, one part at a time. Raises DatasetError where a part is damaged."""
        wanted = ground_schema(self.card.dim, self.card.possible > 0)
        for key in part_keys(self.store):
            with open_part(self.store, key, wanted, _REMEDY) as file:
                yield file.read(wanted.names)
