"""What a user says of a pretraining."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from models.encoder.registry import DEFAULT_KIND, make_architecture
from models.encoder.series_encoder import Architecture
from models.errors import CheckpointError, PretrainingError
from models.pretraining.recipe import Recipe
from pipeline.clusters.settings import ClusterSettings
from pipeline.settings.load import anchored, load_settings
from pipeline.settings.map import SHIPPED_CHECKPOINT
from pipeline.settings.sections import Address, Strict


class EncoderSizes(Strict):
    """The architecture of a new encoder and its sizes; what it takes and gives, the set says.

    The defaults are the paper's. An encoder of another `kind` has sizes of its own, which may be
    set beside these.
    """

    model_config = ConfigDict(extra="allow")

    kind: str = DEFAULT_KIND
    dim: int = Field(512, ge=1)
    depth: int = Field(6, ge=1)
    heads: int = Field(8, ge=1)
    feedforward: int = Field(256, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        try:
            self.architecture(10, 512)
        except CheckpointError as error:
            raise ValueError(error.problem) from None
        except ValidationError as error:
            sizes = ", ".join(str(entry["loc"][-1]) for entry in error.errors())
            raise ValueError(f"an encoder of kind {self.kind} has no such {sizes}") from None
        return self

    def architecture(self, bands: int, embedding_dim: int) -> Architecture:
        """The architecture of these sizes."""
        sizes = self.model_dump(exclude_unset=True)
        return make_architecture({**sizes, "bands": bands, "embedding_dim": embedding_dim})


class PretrainSettings(Strict):
    """A checkpoint to be trained on `dataset`, a training set, and written to `out`, a folder.

    `run` is the folder (or `s3://` prefix) of the training itself: states, measures, curves; by
    default `out` with ".training" behind. `start` is a checkpoint to train on from: its sizes and
    its preprocessing are taken. Else `encoder` has the sizes, and reflectance is normalised by the
    authors' constants or by the quantiles of the training set (`normalise`).

    A state is saved every `save_every` steps, the last `keep` stay. Every `validate_every` steps
    the validation part is measured; with `patience`, training ends once its loss has not fallen so
    many times in a row, and the checkpoint then is that of the lowest. `restarts` is how often in a
    row processes may die without a state saved between. Of `cluster`, `threads` are those of each
    of the `processes`.
    """

    dataset: Address
    out: Address
    run: Address | None = None
    start: Annotated[Address | None, SHIPPED_CHECKPOINT] = None
    recipe: Recipe = Recipe()
    encoder: EncoderSizes = EncoderSizes()
    normalise: Literal["authors", "dataset"] = "authors"
    name: str | None = Field(None, min_length=1)
    description: str | None = None
    licence: str = Field("unstated", min_length=1)
    demonstration: bool = False
    processes: int = Field(1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    save_every: int = Field(500, ge=1)
    keep: int = Field(3, ge=1)
    validate_every: int = Field(500, ge=1)
    patience: int | None = Field(None, ge=1)
    restarts: int = Field(3, ge=0)
    tracker: Literal["none", "mlflow", "wandb"] = "none"
    cluster: ClusterSettings = ClusterSettings()
    replace: bool = False

    @field_validator("out")
    @classmethod
    def _a_folder(cls, value: str) -> str:
        if "://" in value:
            raise ValueError("a checkpoint is written to a folder; give `run` an s3:// prefix")
        return value

    @model_validator(mode="before")
    @classmethod
    def _from_here(cls, raw: Any) -> Any:
        """Paths that mean the same wherever a worker stands."""
        return anchored(cls, raw, Path()) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        try:
            self.recipe.share(self.processes)
        except PretrainingError as error:
            raise ValueError(str(error)) from None
        workers = self.cluster.workers
        if not self.cluster.remote and workers is not None and workers < self.processes:
            raise ValueError(
                f"{self.processes} processes need as many workers, and cluster.workers is "
                f"{workers}; leave it out"
            )
        return self

    @property
    def folder(self) -> str:
        """Where the training lives."""
        return self.run or f"{self.out.rstrip('/')}.training"


def make_pretrain_settings(raw: Mapping[str, Any], recipe: Path | None = None) -> PretrainSettings:
    """Settings laid over a recipe's file; raises SettingsError that names each that is wrong."""
    return load_settings(
        PretrainSettings, raw, recipe, "`timesen pretrain --help` lists the settings"
    )
