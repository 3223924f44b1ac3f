"""The recipe of a pretraining: all its choices. The defaults are the paper's."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from models.encoder.preprocessing import BANDS
from models.errors import PretrainingError
from models.option import COMMAS, WHOLE_NUMBER, Option
from models.pretraining.augmentation import Augmentation
from models.pretraining.variations import LostBands, Share, Variation

Steps = Annotated[Literal[12, 4, 1], WHOLE_NUMBER]

_GROUND = Option(group="Ground side and loss")
_SERIES = Option(group="Series")
_OPTIMISER = Option(group="Optimiser")

_LATER_FIELDS = ("weight_average", "wording_noise")


def _read_variation(value: Any) -> Any:
    """Return a text such as "lost-months:share=0.6,probability=1" as a table of a recipe."""
    if not isinstance(value, str):
        return value
    name, _, pairs = value.partition(":")
    values = [pair.partition("=") for pair in pairs.split(",") if pair]
    if not all(equals for _, equals, _ in values):
        raise ValueError(f"{value}: write NAME:SETTING=VALUE, as lost-months:share=0.6")
    return {"name": name.strip()} | {key.strip(): text for key, _, text in values}


class Recipe(BaseModel):
    """The choices of a training (arXiv 2508.11919): all but the data and the encoder's sizes.

    In the loss `memory-bank`, each pixel is compared with its own ground embedding and with the
    last `memory_bank` of others; in `in-batch`, both ways with all others of the batch, over all
    processes. Without `balanced_negatives`, what is common is pushed away for being common.

    The optimiser is AdamW. With the schedule `cosine` the rate goes from `rate` to 0 over
    `cosine_steps` steps, then up and down again, as torch's CosineAnnealingLR; the paper's T_max
    of 10 is that many epochs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    views: Annotated[Literal["pooled", "drawn"], _GROUND] = Field(
        "pooled",
        description="a point's photos or texts: all pooled, or one drawn each time it is seen",
    )
    pooling: Annotated[Literal["mean", "attention-view", "attention-dimension"], _GROUND] = Field(
        "mean", description="the mean, or attention with a weight per view or per dimension of it"
    )
    wording_noise: Annotated[float, _GROUND] = Field(
        0.0,
        ge=0,
        le=4,
        description="how much a drawn view moves along the difference of two views of equal keys, "
        "such as two wordings of a class; 0: not at all",
    )
    loss: Annotated[Literal["memory-bank", "in-batch"], _GROUND] = Field(
        "memory-bank", description="contrast with earlier ground embeddings, or within the batch"
    )
    memory_bank: Annotated[int, _GROUND] = Field(
        2048, ge=1, description="earlier ground embeddings that are negatives"
    )
    balanced_negatives: Annotated[bool, _GROUND] = Field(
        False, description="let negatives of equal keys (texts, classes) weigh as one together"
    )
    temperature: Annotated[float, _GROUND] = Field(
        0.07, ge=0.01, le=1, description="the loss's temperature, or where learning it starts"
    )
    learned_temperature: Annotated[bool, _GROUND] = Field(
        False, description="learn the temperature"
    )
    months: Annotated[tuple[Steps, ...], COMMAS, Option(group="Series", metavar="12,4,1")] = Field(
        (12,),
        min_length=1,
        description="lengths of series, of which one is drawn per step; the checkpoint serves them",
    )
    variations: Annotated[
        tuple[Annotated[Variation, BeforeValidator(_read_variation)], ...],
        Option("--variation", group="Series", metavar="NAME[:share=0.6,…]"),
    ] = Field(
        (),
        description="other years of a series: reflectance, lost-months, lost-bands, "
        "shifted-calendar, other-hemisphere, coarser-calendar or another-year, with values behind "
        "a colon; repeatable, applied in this order",
    )
    augmentation: Annotated[Augmentation, _SERIES] = Field(
        "TSMixAug", description="the paper's augmentation of series of 12 months"
    )
    augmentation_probability: Annotated[Share, _SERIES] = Field(
        0.5, description="probability that a series is augmented"
    )
    steps: Annotated[int, _OPTIMISER] = Field(10_000, ge=1, description="training steps")
    batch: Annotated[int, _OPTIMISER] = Field(
        512, ge=2, description="points per step, over all processes"
    )
    rate: Annotated[float, _OPTIMISER] = Field(1e-4, gt=0, le=1, description="the learning rate")
    weight_decay: Annotated[float, _OPTIMISER] = Field(
        0.01, ge=0, le=1, description="AdamW's weight decay"
    )
    schedule: Annotated[Literal["cosine", "constant"], _OPTIMISER] = Field(
        "cosine", description="the course of the learning rate"
    )
    cosine_steps: Annotated[int | None, _OPTIMISER] = Field(
        None, ge=1, description="steps from the rate to 0; default: all"
    )
    warm: Annotated[float, _OPTIMISER] = Field(
        0.0, ge=0, lt=1, description="share of the steps, at the start, in which the rate rises"
    )
    steepest: Annotated[float | None, _OPTIMISER] = Field(
        None, gt=0, description="limit of the gradient's norm; default: none"
    )
    weight_average: Annotated[float | None, _OPTIMISER] = Field(
        None,
        gt=0,
        lt=1,
        description="decay of a moving average of the weights, which is what is validated and "
        "becomes the checkpoint, such as 0.99; default: the last weights",
    )
    precision: Annotated[Literal["float32", "bfloat16", "float16"], _OPTIMISER] = Field(
        "float32", description="numbers of the computation; float16 needs a GPU"
    )
    seed: Annotated[int, Option(group="Optimiser", metavar="N")] = Field(
        0, ge=0, lt=2**63, description="seed of all that is drawn at random"
    )

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Trainings and cards of earlier versions know no later choice: at its default it is left
        # out, so that those trainings go on.
        fields: dict[str, Any] = serialise(self)
        for name in _LATER_FIELDS:
            if getattr(self, name) == type(self).model_fields[name].default:
                fields.pop(name, None)
        return fields

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.views == "drawn" and self.pooling != "mean":
            raise ValueError(
                f"pooling is {self.pooling}, but views are drawn one by one: there is nothing to "
                'pool; leave pooling out, or set views = "pooled"'
            )
        if self.wording_noise and self.views != "drawn":
            raise ValueError(
                f"wording_noise is {self.wording_noise}, but views are pooled: it is for one view; "
                'set views = "drawn", or leave it out'
            )
        if self.loss == "memory-bank" and self.memory_bank < self.batch:
            raise ValueError(
                f"memory_bank is {self.memory_bank}, smaller than the batch of {self.batch}: part "
                "of each batch would never serve as negatives; enlarge it, or lessen batch"
            )
        if self.balanced_negatives and self.loss != "memory-bank":
            raise ValueError(
                f"balanced_negatives is for a memory bank, and the loss is {self.loss}"
            )
        if self.cosine_steps is not None and self.schedule != "cosine":
            raise ValueError(f"cosine_steps is given, but the schedule is {self.schedule}")
        return self

    @property
    def lost_bands(self) -> tuple[str, ...]:
        """The bands that a variation can make absent, in Sentinel-2's order."""
        losing = [one for one in self.variations if isinstance(one, LostBands) and one.probability]
        return tuple(band for band in BANDS if any(band in one.bands for one in losing))

    def share(self, world: int) -> int:
        """The rows of a batch that each of `world` processes takes.

        Raises PretrainingError where a batch cannot be shared alike.
        """
        if self.batch < world:
            raise PretrainingError(
                f"a batch of {self.batch}",
                f"fewer points than processes ({world})",
                f"Take a batch of {world} or a multiple of it, or fewer processes",
            )
        if self.batch % world:
            near = self.batch // world * world
            raise PretrainingError(
                f"a batch of {self.batch}",
                f"{world} processes cannot share it alike",
                f"Take {near} or {near + world}",
            )
        return self.batch // world

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = math.ceil(self.warm * self.steps)
        if step < warm:
            return self.rate * (step + 1) / (warm + 1)
        if self.schedule == "constant":
            return self.rate
        half = self.cosine_steps or self.steps - warm
        return self.rate * (1 + math.cos(math.pi * (step - warm) / half)) / 2
