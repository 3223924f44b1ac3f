"""Training sets: the card, and the shards of its rows."""

import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.training_set.card import SET_CARD
from pipeline.training_set.class_balance import ClassBalance
from pipeline.training_set.mixture import SetMixture
from pipeline.training_set.shards import shard_file
from tests.fuzz.mutate import changed_bytes, changed_document, to_json
from tests.fuzz.target import Files, Target, Wrong
from tests.training_sets import made_set

_BATCH = 4


class TrainingSets(Target):
    """A set's folder, opened, and an epoch of each split read."""

    name = "training-sets"

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._base = seeds / "set"
        self._card = json.loads((self._base / SET_CARD).read_bytes())
        keys = [one["key"] for shards in self._card["splits"].values() for one in shards]
        self._shards = {key: (self._base / key).read_bytes() for key in keys}

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        made_set(str(folder / "set"), train=24, held_out=6, shard_rows=8, dim=6)

    def make(self, draw: random.Random) -> Files:
        kind = draw.random()
        if kind < 0.6:
            return {SET_CARD: to_json(changed_document(self._card, draw, most=3))}
        if kind < 0.7:
            return {SET_CARD: changed_bytes((self._base / SET_CARD).read_bytes(), draw)}
        key = draw.choice(list(self._shards))
        if kind < 0.85:
            return {key: changed_bytes(self._shards[key], draw)}
        return {key: _changed_table(self._shards[key], draw)}

    def read(self, files: Files) -> None:
        folder = self.write(files, self._base)
        mixture = SetMixture.open([str(folder)], balance=ClassBalance("cover", 0.5))
        one = mixture.sets[0]
        for split in one.card.splits:
            balance = ClassBalance("cover", 0.5) if split == "train" else None
            batches = one.batches(
                split, batch=_BATCH, seed=1, epoch=0, drop_last=False, balance=balance
            )
            rows = 0
            for batch in batches:
                rows += len(batch)
                if batch.series.shape[1:] != (12, len(one.card.bands)):
                    raise Wrong(f"series of shape {batch.series.shape}")
                if batch.ground.shape[2] != one.card.ground.dim:
                    raise Wrong(f"ground of shape {batch.ground.shape}")
            if rows != one.rows(split):
                raise Wrong(f"{rows} rows of {one.rows(split)}")


def _changed_table(content: bytes, draw: random.Random) -> bytes:
    """A sound Parquet file whose columns are others than the card says."""
    table = pq.read_table(io.BytesIO(content))
    place = draw.randrange(table.num_columns)
    name = table.column_names[place]
    values = table.column(place).to_pylist()
    action = draw.randrange(5)
    if action == 0:
        table = table.drop_columns([name])
    elif action == 1:
        table = table.set_column(place, name, pa.array(list(map(str, values))))
    elif action == 2:
        nulls = [None if draw.random() < 0.3 else value for value in values]
        table = table.set_column(place, name, pa.array(nulls, table.schema.field(place).type))
    elif action == 3:
        table = table.slice(0, draw.randrange(table.num_rows))
    else:
        loose = [value[: draw.randint(0, 3)] if isinstance(value, list) else value
                 for value in values]  # fmt: skip
        table = table.set_column(place, name, pa.array(loose))
    return shard_file(table)
