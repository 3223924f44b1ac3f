"""The settings of a pretraining."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from models.encoder.registry import DEFAULT_KIND, make_architecture
from models.encoder.series_encoder import Architecture
from models.errors import CheckpointError, PretrainingError
from models.option import COMMAS, Names, Option
from models.pretraining.recipe import Recipe
from pipeline.clusters.settings import ClusterSettings
from pipeline.settings.load import anchored
from pipeline.settings.map import SHIPPED_CHECKPOINT
from pipeline.settings.sections import Address, Strict
from pipeline.training_set.class_balance import ClassBalance

_RUN = Option(group="Training run")
_DRAWING = "Drawing of points"


class EncoderSizes(Strict):
    """The architecture of a new encoder and its sizes; what it takes and gives, the set says.

    The defaults are the paper's. An encoder of another `kind` has sizes of its own, which may be
    set beside these.
    """

    model_config = ConfigDict(title="New encoder", extra="allow")

    kind: Annotated[str, Option(metavar="NAME")] = Field(
        DEFAULT_KIND, description="the architecture"
    )
    dim: int = Field(512, ge=1, description="width of its layers")
    depth: int = Field(6, ge=1, description="number of layers")
    heads: int = Field(8, ge=1, description="attention heads per layer")
    feedforward: int = Field(256, ge=1, description="width inside a layer's feed-forward part")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of values dropped in training")

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

    @model_serializer(mode="wrap")
    def _own_sizes(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Of another kind, only the sizes that were set: it has not those of the paper's."""
        sizes: dict[str, Any] = dump(self)
        if self.kind == DEFAULT_KIND:
            return sizes
        return {name: value for name, value in sizes.items() if name in self.model_fields_set}

    def architecture(self, bands: int, embedding_dim: int) -> Architecture:
        """The architecture of these sizes."""
        sizes = self.model_dump(exclude_unset=True)
        return make_architecture({**sizes, "bands": bands, "embedding_dim": embedding_dim})


def _in_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class PretrainSettings(Strict):
    """A checkpoint to be trained on `dataset`, training sets, and written to `out`, a folder."""

    model_config = ConfigDict(title="Checkpoint")

    dataset: Annotated[
        tuple[Address, ...],
        BeforeValidator(_in_a_list),
        WithJsonSchema(
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        ),
        Names("set"),
        Option(positional=True, metavar="SET"),
    ] = Field(
        min_length=1,
        description="the training set that `timesen dataset pack` makes, or several",
    )
    out: Annotated[Address, Names("new checkpoint"), Option(metavar="CHECKPOINT")] = Field(
        description="the checkpoint's folder"
    )
    run: Annotated[Address | None, Option(metavar="FOLDER|S3-URL")] = Field(
        None,
        description="the training's own folder: states, measures, curves; "
        "default: CHECKPOINT.training",
    )
    start: Annotated[
        Address | None,
        SHIPPED_CHECKPOINT,
        Names("checkpoint"),
        Option("--from", metavar="CHECKPOINT"),
    ] = Field(
        None, description="train on from this checkpoint, with its sizes and its normalisation"
    )
    name: str | None = Field(
        None, min_length=1, description="the checkpoint's name; default: its folder's"
    )
    description: str | None = Field(None, description="a sentence about it, for people")
    licence: str = Field("unstated", min_length=1, description="the licence of the weights")
    demonstration: bool = Field(False, description="mark it as not meant for real maps")
    replace: bool = Field(False, description="replace a checkpoint that is there")
    encoder: EncoderSizes = EncoderSizes()
    normalise: Literal["authors", "dataset"] = Field(
        "authors",
        description="normalise reflectance by the authors' constants, or by the set's quantiles",
    )
    recipe: Recipe = Recipe()
    shares: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...] | None,
        COMMAS,
        Option(group=_DRAWING, metavar="0.4,0.6"),
    ] = Field(
        None, description="the share of each set in a batch; default: by their numbers of points"
    )
    set_exponent: Annotated[float | None, Option(group=_DRAWING, metavar="0…1")] = Field(
        None,
        ge=0,
        le=1,
        description="in place of shares: in proportion to the number of points to this power; "
        "1: by points, 0: all sets alike",
    )
    balance: Annotated[str | None, Option(group=_DRAWING, metavar="LABEL")] = Field(
        None, min_length=1, description="draw rare classes of this label more often, within a set"
    )
    balance_exponent: Annotated[float | None, Option(group=_DRAWING, metavar="0…1")] = Field(
        None,
        ge=0,
        le=1,
        description="classes are drawn in proportion to their number of points to this power; 1: "
        "as they come, 0: all alike; default: 0.5",
    )
    processes: Annotated[int, _RUN] = Field(
        1, ge=1, description="processes that train together, each on a worker of its own"
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], _RUN] = Field(
        "auto", description="where they compute"
    )
    cluster: Annotated[ClusterSettings, Option(only=("kind", "threads"))] = ClusterSettings()
    save_every: Annotated[int, _RUN] = Field(
        500, ge=1, description="steps from one saved state to the next"
    )
    keep: Annotated[int, _RUN] = Field(3, ge=1, description="last states that are kept")
    validate_every: Annotated[int, _RUN] = Field(
        500, ge=1, description="steps from one validation to the next"
    )
    patience: Annotated[int | None, _RUN] = Field(
        None,
        ge=1,
        description="stop after so many validations without a lower loss; the checkpoint is that "
        "of the lowest",
    )
    restarts: Annotated[int, _RUN] = Field(
        3, ge=0, description="times in a row that processes may die without a state saved between"
    )
    tracker: Annotated[Literal["none", "mlflow", "wandb"], _RUN] = Field(
        "none", description="where measures are shown beside TensorBoard"
    )

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
    def _drawn_in_one_way(self) -> Self:
        if self.shares is not None and self.set_exponent is not None:
            raise ValueError("shares and set_exponent both say how often a set is drawn; give one")
        if self.set_exponent is not None and len(self.dataset) == 1:
            raise ValueError("set_exponent is for several sets, and there is one")
        if self.shares is not None and len(self.shares) != len(self.dataset):
            raise ValueError(f"{len(self.shares)} shares for {len(self.dataset)} sets")
        if self.balance_exponent is not None and self.balance is None:
            raise ValueError("balance_exponent is for a label; name it by balance")
        return self

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
    def class_balance(self) -> ClassBalance | None:
        """How classes are drawn within a set; None where rows are drawn as they come."""
        if self.balance is None:
            return None
        exponent = 0.5 if self.balance_exponent is None else self.balance_exponent
        return ClassBalance(self.balance, exponent)

    @property
    def named_sets(self) -> str:
        """The addresses of the training sets in one text."""
        return ", ".join(self.dataset)

    @property
    def folder(self) -> str:
        """Where the training lives."""
        return self.run or f"{self.out.rstrip('/')}.training"
