"""The settings of an evaluation: of a checkpoint on labelled series, or of a finished map."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from models.option import COMMAS, WHOLE_NUMBER, Names, Option, RelativePath
from models.vocabulary.labels import Level
from pipeline.clusters.settings import ClusterSettings
from pipeline.settings.map import SHIPPED_CHECKPOINT, SHIPPED_VOCABULARY
from pipeline.settings.sections import Address, Strict
from pipeline.training_set.spatial_split import BlockSize

_DATA = Option(positional=True, metavar="SET|SERIES|RUN")
_DATA_TEXT = "a training set or a table of series, with --checkpoint; or a run, with --points"
_LABEL = Option(group="Both", metavar="COLUMN")
_LABEL_TEXT = "the column of the true classes; of points by default label"
_LEVEL_TEXT = "compare classes or their parents; default: as the labels are"


class CheckpointEvaluation(Strict):
    """A checkpoint on a training set or a table of series (`data`), reported in `out`."""

    model_config = ConfigDict(title="Of a checkpoint")

    data: Annotated[Address, Names("set or series"), _DATA] = Field(description=_DATA_TEXT)
    label: Annotated[str | None, _LABEL] = Field(None, description=_LABEL_TEXT)
    level: Annotated[Level | None, Option(group="Both")] = Field(None, description=_LEVEL_TEXT)
    out: Annotated[Address, Option(group="Both", metavar="FOLDER")] = Field(
        "evaluation",
        description="the report's folder; of a map by default evaluation in the run's folder",
    )
    checkpoint: Annotated[
        str, SHIPPED_CHECKPOINT, Names("checkpoint"), Option(metavar="NAME|FOLDER")
    ] = Field(description="a shipped checkpoint's name, or a folder")
    vocabulary: Annotated[
        str | None,
        SHIPPED_VOCABULARY,
        Names("vocabulary"),
        Option(metavar="NAME|FILE", replaces="classes"),
    ] = Field(None, description="a shipped vocabulary's name, or a TOML file")
    classes: Annotated[
        str | None, Names("classes"), Option(metavar="WORDS", replaces="vocabulary")
    ] = Field(None, description="classes in words, as for maps, in place of a vocabulary")
    split: Literal["test", "validation", "train", "all"] | None = Field(
        None, description="rows that are evaluated; default: test, of a table of series all"
    )
    region: Annotated[str | None, Option(metavar="COLUMN")] = Field(
        None, description="a column such as nuts0: accuracy by its values"
    )
    steps: Annotated[
        tuple[Annotated[Literal[12, 4, 1], WHOLE_NUMBER], ...], COMMAS, Option(metavar="12,4,1")
    ] = Field((12,), min_length=1, description="lengths of series: months, seasons, the year")
    number: Annotated[str | None, Option(metavar="COLUMN")] = Field(
        None, description="a column of numbers that prompts should predict, such as scenicness"
    )
    positive: Annotated[tuple[str, ...], Option(metavar="PROMPT")] = Field(
        (), description="a prompt for high numbers; repeatable"
    )
    negative: Annotated[tuple[str, ...], Option(metavar="PROMPT")] = Field(
        (), description="a prompt for low numbers; repeatable"
    )
    block_km: Annotated[BlockSize, Option(metavar="KM")] = Field(
        50.0, description="side of the blocks of land that split a table of series for probes"
    )
    draws: int = Field(10, ge=1, description="random draws of few rows per class, for probes")
    seed: int = Field(0, ge=0, description="seed of all that is drawn at random")
    cluster: Annotated[ClusterSettings, Option(only=("kind",))] = ClusterSettings()

    @model_validator(mode="before")
    @classmethod
    def _of_a_checkpoint(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "checkpoint" not in raw:
            raise ValueError(
                "give checkpoint with a training set or a table of series, or points with a run"
            )
        return raw

    @field_validator("steps")
    @classmethod
    def _each_once(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(steps)) < len(steps):
            raise ValueError("write each length once, such as 12,4,1")
        return steps

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        words = (self.vocabulary is not None) + (self.classes is not None)
        if self.label is not None and words != 1:
            raise ValueError("a label needs its classes; give either vocabulary or classes")
        if self.label is None and words:
            raise ValueError("classes are compared with a column; give label, its name")
        if self.region is not None and self.label is None:
            raise ValueError("accuracy by region is that of a label; give label, too")
        prompts = [self.number is not None, bool(self.positive), bool(self.negative)]
        if any(prompts) and not all(prompts):
            raise ValueError(
                "prompts predict numbers by what high and low ones mean; give number, positive "
                "and negative"
            )
        return self


class MapEvaluation(Strict):
    """The map of a finished run at reference points, such as those of `timesen sample`."""

    model_config = ConfigDict(title="Of a finished map")

    run: Annotated[Address, Names("run"), _DATA] = Field(description=_DATA_TEXT)
    label: Annotated[str, _LABEL] = Field("label", description=_LABEL_TEXT)
    level: Annotated[Level | None, Option(group="Both")] = Field(None, description=_LEVEL_TEXT)
    out: Annotated[Address | None, Option(group="Both", metavar="FOLDER")] = Field(
        None, description="the report's folder; default: evaluation in the run's folder"
    )
    points: Annotated[str, RelativePath(), Names("file"), Option(metavar="FILE")] = Field(
        description="reference points: a vector file, or a CSV with lon and lat"
    )
    labels: Annotated[str | None, RelativePath(), Names("file"), Option(metavar="FILE")] = Field(
        None,
        description="a table with columns label and class: what the points' labels mean; labels "
        "without a class are left out",
    )
