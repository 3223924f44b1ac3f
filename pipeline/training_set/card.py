"""The card of a training set, its `dataset.json`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import DatasetError
from pipeline.io.store import Store, public_url
from pipeline.training_set.spatial_split import SplitRule

SET_CARD = "dataset.json"
SET_FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroundSide(_Part):
    """What the series are paired with: `views` of length `dim` a point, at most.

    `tower` and `revision` are the spec and the weights of what embedded them.
    """

    kind: Literal["photos", "texts"]
    tower: str
    revision: str
    dim: int
    views: int


class Shard(_Part):
    """A Parquet file of a part: its key in the set's folder, its rows, its SHA-256 (hex)."""

    key: str
    rows: int
    sha256: str


class Statistics(_Part):
    """Numbers over the clear months of the training part, one a band.

    `quantiles` by percent ("1", "50", "99"), `mean` and `std` in reflectance × 10000; `missing` is
    the share of months without a clear observation.
    """

    quantiles: dict[str, tuple[float, ...]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    missing: float


class DatasetCard(_Part):
    """A training set: what its rows hold, how they are parted and where they come from.

    `splits` are the shards of each part, in order. `labels` are the classes of each label, and
    `counts` the rows by label, part and class (those without it under ""). `left_out` are rows of
    the tables that are not in the set, by reason. `fingerprint` is a SHA-256 over the rows
    themselves and what is said of them; times, versions and the files' bytes do not change it.
    """

    format: Literal[1] = 1
    bands: tuple[str, ...]
    months: Literal[12] = 12
    ground: GroundSide
    splits: dict[str, tuple[Shard, ...]]
    labels: dict[str, tuple[str, ...]]
    counts: dict[str, dict[str, dict[str, int]]]
    statistics: Statistics
    split_rule: SplitRule
    left_out: dict[str, int]
    attribution: tuple[str, ...]
    sources: dict[str, Any]
    versions: dict[str, str]
    created: str
    fingerprint: str

    def rows(self, split: str) -> int:
        """The rows of a part; raises DatasetError for one that is not there."""
        return sum(shard.rows for shard in self.shards(split))

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The shards of a part, in order; raises DatasetError for one that is not there."""
        if split not in self.splits:
            raise DatasetError(
                f"part {split!r}", "no such part", f"There are {', '.join(self.splits)}"
            )
        return self.splits[split]

    def require(self, bands: Sequence[str], dim: int | None = None) -> None:
        """Raise DatasetError where an encoder takes other bands, or another ground dimension.

        `bands` in the order in which the encoder takes them.
        """
        if tuple(bands) != self.bands:
            same = sorted(bands) == sorted(self.bands)
            raise DatasetError(
                f"a training set of bands {', '.join(self.bands)}",
                f"{'in this order' if same else 'these bands'} it does not fit an encoder of "
                f"{', '.join(bands)}",
                "Make the series again in the encoder's order, or train an encoder of this one",
            )
        if dim is not None and dim != self.ground.dim:
            raise DatasetError(
                f"a training set whose ground embeddings have {self.ground.dim} dimensions "
                f"({self.ground.tower})",
                f"it does not fit an encoder that embeds into {dim}",
                "Embed the ground by the tower that the encoder was trained with",
            )

    def to_json(self) -> bytes:
        """The bytes of `dataset.json`."""
        return (
            json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
        ).encode()


def read_card(store: Store) -> DatasetCard:
    """The card of the training set in a folder; raises DatasetError where there is none."""
    given = public_url(store.root)
    try:
        raw: Mapping[str, Any] = json.loads(store.read(SET_CARD))
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(
            given, f"there is no training set here, it has no {SET_CARD}", _MAKE
        ) from None
    except ValueError:
        raise DatasetError(given, f"its {SET_CARD} is damaged, it is no JSON", _MAKE) from None
    if not isinstance(raw, dict) or raw.get("format") != SET_FORMAT:
        raise DatasetError(given, f"its {SET_CARD} is of another format than {SET_FORMAT}", _MAKE)
    try:
        return DatasetCard.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DatasetError(
            given, f"its {SET_CARD} is damaged ({place}: {first['msg']})", _MAKE
        ) from None


_MAKE = "Make one by `timesen dataset pack SERIES --ground GROUND --out SET`"
