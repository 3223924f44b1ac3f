"""The card of a training set, its `dataset.json`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from pipeline.errors import DatasetError
from pipeline.training_set.spatial_split import SplitRule

SET_CARD = "dataset.json"
_MOST_DIM = 2**20  # of a ground embedding: text encoders have thousands
_MOST_VIEWS = 1000  # of a point: a batch has room for as many of each of its rows
_MOST_ROWS = 2**40


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroundSide(_Part):
    """The ground views of the set: at most `views` for each point, embeddings of length `dim`.

    `tower` and `revision` are the spec and the weights of the tower that embedded them. A point has
    at most `possible` further keys, which may be true of it; sets of earlier versions have none.
    """

    kind: Literal["photos", "texts"]
    tower: str
    revision: str
    dim: int = Field(ge=1, le=_MOST_DIM)
    views: int = Field(ge=0, le=_MOST_VIEWS)
    possible: int = Field(0, ge=0, le=_MOST_VIEWS)


class Shard(_Part):
    """A Parquet file of a split: its key in the set's folder, its rows, its SHA-256 (hex).

    `counts` are rows by label and class, those without a class under ""; sets of earlier versions
    lack them.
    """

    key: str = Field(pattern=r"^[\w-]+(\.[\w-]+)*(/[\w-]+(\.[\w-]+)*)*$")
    rows: int = Field(ge=0, le=_MOST_ROWS)
    sha256: str
    counts: dict[str, dict[str, Annotated[int, Field(ge=0)]]] | None = None


class Statistics(_Part):
    """Statistics of each band over the clear months of the training split.

    `quantiles` by percent ("1", "50", "99"), `mean` and `std` are in reflectance × 10000, 0 for a
    band that no row has. `missing` is the share of months without a clear observation, of the bands
    that rows have. `absent` is the share of rows that lack a band altogether, for each band; sets
    that were packed by earlier versions do not state it.
    """

    quantiles: dict[str, tuple[FiniteFloat, ...]]
    mean: tuple[FiniteFloat, ...]
    std: tuple[FiniteFloat, ...]
    missing: FiniteFloat
    absent: tuple[FiniteFloat, ...] = ()


class DatasetCard(_Part):
    """A training set: the contents of its rows, their splits and their sources.

    Attributes:
        splits: The shards of each split, in order.
        labels: The classes of each label.
        counts: Rows by label, split and class; those without a class under "".
        left_out: Counts of the tables' rows that are not in the set, by reason.
        fingerprint: A SHA-256 over the rows and their description. Times, versions and the files'
            bytes do not change it.
    """

    format: Literal[1] = 1
    bands: tuple[str, ...] = Field(min_length=1)
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

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        numbers = self.statistics
        lengths = {len(each) for each in (numbers.mean, numbers.std, *numbers.quantiles.values())}
        if lengths != {len(self.bands)} or len(numbers.absent) not in (0, len(self.bands)):
            raise ValueError(f"statistics are not of {len(self.bands)} bands")
        for label, classes in self.labels.items():
            if len({*classes, ""}) != len(classes) + 1:
                raise ValueError(f"the classes of {label} are not all different")
        for shard in (shard for shards in self.splits.values() for shard in shards):
            for label, classes in self.labels.items() if shard.counts is not None else ():
                counts = (shard.counts or {}).get(label, {})
                if sum(counts.values()) != shard.rows or counts.keys() - {*classes, ""}:
                    raise ValueError(f"the counts of {label} are not those of {shard.key}")
        return self

    def rows(self, split: str) -> int:
        """The number of rows of a split; raises DatasetError for one that is not there."""
        return sum(shard.rows for shard in self.shards(split))

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split, in order; raises DatasetError for one that is not there."""
        if split not in self.splits:
            raise DatasetError(
                f"split {split!r}", "no such split", f"There are {', '.join(self.splits)}"
            )
        return self.splits[split]

    def require_label(self, label: str, where: str) -> None:
        """Raise DatasetError, which names `where`, for a label that the set lacks."""
        if label not in self.labels:
            raise DatasetError(
                f"label {label!r}",
                f"{where} has none of this name",
                f"Name one that is there: {', '.join(self.labels) or 'it has no label'}",
            )

    def require(self, bands: Sequence[str], dim: int | None = None) -> None:
        """Raise DatasetError where an encoder takes other bands, or embeds into other than `dim`.

        `bands` are in the order in which the encoder takes them.
        """
        if tuple(bands) != self.bands:
            same = sorted(bands) == sorted(self.bands)
            raise DatasetError(
                f"a training set of bands {', '.join(self.bands)}",
                f"{'in this order' if same else 'with these bands'} it does not fit an encoder of "
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
