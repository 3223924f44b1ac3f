"""How an encoder is pretrained: the choices that a training is made of. Defaults: the paper's."""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.errors import PretrainingError
from models.pretraining.augmentation import Augmentation
from models.pretraining.variations import Share, Variation

Steps = Literal[12, 4, 1]


class Recipe(BaseModel):
    """A training's choices (arXiv 2508.11919); everything but the data and the encoder's sizes.

    **Ground.** `views`: a point's ground views are `pooled` (photos), or one is `drawn` at random
    each time the point is seen (texts). `pooling`: by their `mean`, or by attention: one weight a
    view (`attention-view`) or one for each of its dimensions (`attention-dimension`).

    **Loss.** `memory-bank`: each pixel against its own ground embedding and the last `memory_bank`
    of others; with `balanced_negatives` those of equal keys weigh as one together, so that classes
    of which there are many points keep their odds: else what is common is pushed away for being
    common, and all classes end up as likely. `in-batch`: both ways against all others of the batch,
    over all processes. `temperature` is fixed, or with `learned_temperature` where training starts.

    **Input.** `months`: the numbers of steps T that are trained: each step of the training draws
    one of these, one that is named twice twice as often; a checkpoint serves those that it was
    trained on. `variations` make other years of a series, in this order. `augmentation` is done
    with `augmentation_probability` to the series of 12 months.

    **Optimiser.** AdamW for `steps` steps of `batch` points over all processes. `schedule`
    `cosine`: from `rate` to 0 over `cosine_steps` steps (default: all of them), then up and down
    again, as torch's CosineAnnealingLR; the paper's T_max of 10 is that many epochs. `constant`:
    always `rate`. Before either, in the first `warm` part of the steps, the rate rises from 0.
    `steepest` limits the gradient's norm. `precision` float16 needs a GPU.

    `seed` decides on everything that is drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    views: Literal["pooled", "drawn"] = "pooled"
    pooling: Literal["mean", "attention-view", "attention-dimension"] = "mean"
    loss: Literal["memory-bank", "in-batch"] = "memory-bank"
    memory_bank: int = Field(default=2048, ge=1)
    balanced_negatives: bool = False
    temperature: float = Field(default=0.07, ge=0.01, le=1)
    learned_temperature: bool = False
    months: tuple[Steps, ...] = Field(default=(12,), min_length=1)
    variations: tuple[Variation, ...] = ()
    augmentation: Augmentation = "TSMixAug"
    augmentation_probability: Share = 0.5
    steps: int = Field(default=10_000, ge=1)
    batch: int = Field(default=512, ge=2)
    rate: float = Field(default=1e-4, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    cosine_steps: int | None = Field(default=None, ge=1)
    warm: Annotated[float, Field(ge=0, lt=1)] = 0.0
    steepest: float | None = Field(default=None, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.views == "drawn" and self.pooling != "mean":
            raise ValueError(
                f"pooling is {self.pooling}, but views are drawn one by one: there is nothing to "
                'pool; leave pooling out, or set views = "pooled"'
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
