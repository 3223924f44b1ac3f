"""The settings of a distillation."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from models.option import Names, Option, RelativePath
from pipeline.clusters.settings import ClusterSettings
from pipeline.settings.map import SHIPPED_CHECKPOINT, SHIPPED_VOCABULARY
from pipeline.settings.sections import Address, Strict

_SOURCE = "Series to learn from"


class DistilSettings(Strict):
    """A student of the checkpoint `teacher`, to be written to `out`."""

    model_config = ConfigDict(title="Student and training")

    teacher: Annotated[
        str, SHIPPED_CHECKPOINT, Names("checkpoint"), Option(positional=True, metavar="TEACHER")
    ] = Field(description="a shipped checkpoint's name, or a folder")
    out: Annotated[Address, Names("new checkpoint"), Option(metavar="FOLDER")] = Field(
        description="the student's folder, a checkpoint like any other"
    )
    run: Annotated[Address | None, Names("run"), Option(group=_SOURCE, metavar="RUN")] = Field(
        None, description="a run that was planned or mapped: pixels of its region are read"
    )
    series: Annotated[
        str | None, RelativePath(), Names("file"), Option(group=_SOURCE, metavar="FILE.npy")
    ] = Field(
        None,
        description="uint16 array (n, 12, band): reflectance × 10000, bands as the teacher's",
    )
    pixels: Annotated[int, Option(group=_SOURCE)] = Field(
        50_000, ge=10, description="pixels that are drawn from the run"
    )
    blocks: Annotated[int, Option(group=_SOURCE)] = Field(
        16, ge=1, description="blocks of 1024 × 1024 pixels that they are drawn from"
    )
    vocabulary: Annotated[
        str, SHIPPED_VOCABULARY, Names("vocabulary"), Option(metavar="NAME|FILE")
    ] = Field(
        "lucas-land-cover",
        description="the classes that the student should tell apart as the teacher does",
    )
    bank: int = Field(60_000, ge=1, description="series that the teacher labels")
    steps: int = Field(2000, ge=10, description="training steps")
    batch: int = Field(512, ge=1, description="series per step")
    seed: int = Field(0, ge=0, description="seed of all that is drawn at random")
    dim: int = Field(128, ge=1, description="width of the student's layers")
    depth: int = Field(2, ge=1, description="number of its layers")
    heads: int = Field(4, ge=1, description="attention heads per layer")
    feedforward: int = Field(128, ge=1, description="width inside a layer's feed-forward part")
    cluster: Annotated[ClusterSettings, Option(only=("kind",))] = ClusterSettings()
    replace: bool = Field(False, description="replace a checkpoint that is there")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.run is None) == (self.series is None):
            raise ValueError(
                "series to learn from are of one source; give either run, a run's folder, or "
                "series, a .npy file"
            )
        return self
