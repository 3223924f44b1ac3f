"""Descriptions of points in words, which replace photos, and their embeddings."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.towers.text_tower import TextTower
from pipeline.errors import DatasetError
from pipeline.ground_views.table import ground_rows, key_of
from pipeline.io.tables import read_columns

_AT_ONCE = 65_536  # rows of a part


@dataclass(frozen=True)
class TextPairs:
    """Points and their texts, in the table's order.

    Attributes:
        keys: The keys of the texts' subjects.
        possible: Of each point, the keys of classes that may be true of it and that none of its
            texts has; points without any are left out.
        left_out: Counts of the table's other rows, by reason.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    keys: tuple[int, ...]
    left_out: dict[str, int]
    possible: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def most_possible(self) -> int:
        """The number of further keys of the point that has most."""
        return max(map(len, self.possible.values()), default=0)


def read_pairs(
    path: Path,
    id_column: str = "id",
    text_column: str = "text",
    class_column: str | None = None,
    possible_column: str | None = None,
) -> TextPairs:
    """The pairs of a CSV, Parquet or vector file; a point may have several rows, one per view.

    Equal texts have the same subject; with `class_column`, equal classes do. Rows without a text,
    and those that repeat both id and text, are left out. `possible_column` has classes that may be
    true of the point as well, separated by semicolons; those of all its rows count.

    Raises:
        DatasetError: The file is unreadable, a row has no id, or no row has a text.
    """
    optional = [name for name in (class_column, possible_column) if name]
    columns = read_columns(path, [id_column, text_column, *optional])
    classes = columns[class_column] if class_column else columns[text_column]
    ids, texts, keys = [], [], []
    seen: set[tuple[str, str]] = set()
    left_out = {"no text": 0, "the same text twice": 0}
    rows = zip(columns[id_column], columns[text_column], classes, strict=True)
    for row, (name, text, depicts) in enumerate(rows, 1):
        if name is None:
            raise DatasetError(
                str(path), f"row {row} has no {id_column}", "Name the point in every row"
            )
        if text is None or (name, text) in seen:
            left_out["no text" if text is None else "the same text twice"] += 1
            continue
        seen.add((name, text))
        ids.append(name)
        texts.append(text)
        keys.append(key_of(depicts))
    if not ids:
        raise DatasetError(str(path), f"no row has a {text_column}", "Describe one or more points")
    reasons = {reason: count for reason, count in left_out.items() if count}
    possible: dict[str, tuple[int, ...]] = {}
    if possible_column:
        possible = _further_keys(ids, keys, columns[id_column], columns[possible_column])
    return TextPairs(tuple(ids), tuple(texts), tuple(keys), reasons, possible)


def _further_keys(
    ids: Sequence[str],
    keys: Sequence[int],
    owners: Sequence[str | None],
    listed: Sequence[str | None],
) -> dict[str, tuple[int, ...]]:
    """The keys of the classes that are listed for each point and that none of its texts has."""
    own: defaultdict[str, set[int]] = defaultdict(set)
    for name, key in zip(ids, keys, strict=True):
        own[name].add(key)
    further: defaultdict[str, set[int]] = defaultdict(set)
    for owner, names in zip(owners, listed, strict=True):
        if owner is not None and owner in own and names:
            further[owner] |= {key_of(part.strip()) for part in names.split(";") if part.strip()}
    left = {name: tuple(sorted(found - own[name])) for name, found in further.items()}
    return {name: found for name, found in left.items() if found}


def embed_pairs(pairs: TextPairs, tower: TextTower) -> Iterator[pa.Table]:
    """The rows of a ground table, in parts; a point's views are numbered from 0."""
    distinct = list(dict.fromkeys(pairs.texts))  # each text is embedded once
    place = {text: number for number, text in enumerate(distinct)}
    embeddings = tower.embed(distinct).astype(np.float16)
    counts: defaultdict[str, count[int]] = defaultdict(count)
    views = [str(next(counts[name])) for name in pairs.ids]
    with_possible = pairs.most_possible > 0
    for start in range(0, len(pairs.ids), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        texts = pairs.texts[part]
        named = zip(pairs.ids[part], views[part], strict=True)
        possible = [pairs.possible.get(name, ()) if view == "0" else () for name, view in named]
        yield ground_rows(
            pairs.ids[part],
            views[part],
            embeddings[[place[text] for text in texts]],
            pairs.keys[part],
            texts,
            possible if with_possible else None,
        )
