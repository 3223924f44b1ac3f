"""A checkpoint's card: the JSON document that explains it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from models.encoder.preprocessing import Preprocessing
from models.encoder.registry import make_architecture
from models.encoder.series_encoder import Architecture
from models.encoder.vocabulary_calibration import VocabularyCalibration
from models.errors import CheckpointError, first_few
from models.validation_words import plain_problem

MOST_CARD_BYTES = 2**19
"""A card with all its calibrations has some 20 kB."""
_MOST_ENTRIES = 1000  # of a list of a card

DEFAULT_STEPS = (12,)
"""The `trained_steps` of cards that do not state them."""


class Card(BaseModel):
    """A checkpoint's card: what it is, what it takes and gives, how it was trained.

    Attributes:
        name: Its name.
        description: For people.
        demonstration: Whether it is not meant for real maps.
        architecture: The encoder's sizes; `kind` names one of `models.encoder.registry`.
        preprocessing: How observations become the encoder's input.
        trained_steps: The numbers of steps T that it was trained on. It would take the
            architecture's other `series_lengths` as well, and embed them without sense.
        text_tower: A spec as `models.towers.text_tower.load_text_tower` takes it.
        text_tower_revision: Which weights of the tower, as `TextTower.revision` says it.
        logit_scale: Multiplies the cosine before the softmax over classes, where no calibration
            states another.
        calibrations: The logit scales of some vocabularies, fitted to labelled points; one for each
            vocabulary and number of steps.
        training: Facts of its training.
        metrics: What was measured.
        licence: Of the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    description: str
    demonstration: bool
    architecture: SerializeAsAny[Architecture]
    preprocessing: Preprocessing
    trained_steps: tuple[int, ...] = Field(DEFAULT_STEPS, fail_fast=True, max_length=_MOST_ENTRIES)
    text_tower: str = Field(min_length=1)
    text_tower_revision: str | None = None
    logit_scale: FiniteFloat = Field(gt=0)
    calibrations: tuple[VocabularyCalibration, ...] = Field(
        (), fail_fast=True, max_length=_MOST_ENTRIES
    )
    training: dict[str, Any]
    metrics: dict[str, Any]
    licence: str = Field(min_length=1)

    @field_validator("architecture", mode="plain")
    @classmethod
    def _of_its_kind(cls, value: Any) -> Architecture:
        if isinstance(value, Architecture):
            return value
        if not isinstance(value, dict):
            raise ValueError("must be an object of sizes")
        return make_architecture(value)

    @field_validator("calibrations")
    @classmethod
    def _each_once(
        cls, value: tuple[VocabularyCalibration, ...]
    ) -> tuple[VocabularyCalibration, ...]:
        keys = Counter((one.vocabulary, one.steps) for one in value)
        if twice := sorted(key for key, count in keys.items() if count > 1):
            named = ", ".join(f"{vocabulary} at {steps} steps" for vocabulary, steps in twice)
            raise ValueError(f"more than one for {named}")
        return value

    @model_validator(mode="after")
    def _preprocessing_fits_architecture(self) -> "Card":
        sizes, lengths = self.architecture, self.architecture.series_lengths
        bands, months = len(self.preprocessing.bands), self.preprocessing.months
        if bands != sizes.bands:
            raise ValueError(
                f"preprocessing names {bands} bands, the architecture has {sizes.bands}"
            )
        if months != sizes.months:
            raise ValueError(
                f"preprocessing gives {months} months, the architecture has {sizes.months}"
            )
        if not self.trained_steps or set(self.trained_steps) - set(lengths):
            raise ValueError(
                f"trained_steps is {list(self.trained_steps)}, and must be one or more of "
                f"{list(lengths)}, which the architecture takes"
            )
        return self

    def calibration_of(self, vocabulary: str, steps: int) -> VocabularyCalibration | None:
        """The calibration of a vocabulary (`Vocabulary.identity`) for series of so many steps."""
        for calibration in self.calibrations:
            if (calibration.vocabulary, calibration.steps) == (vocabulary, steps):
                return calibration
        return None

    def logit_scale_of(self, vocabulary: str, steps: int) -> float:
        """The logit scale of a vocabulary: that of its calibration, else the checkpoint's own."""
        calibration = self.calibration_of(vocabulary, steps)
        return self.logit_scale if calibration is None else calibration.logit_scale

    def with_calibration(self, calibration: VocabularyCalibration) -> "Card":
        """This card with a calibration, in place of one of the same vocabulary and steps."""
        key = calibration.vocabulary, calibration.steps
        others = [one for one in self.calibrations if (one.vocabulary, one.steps) != key]
        return self.model_copy(update={"calibrations": (*others, calibration)})

    def require_trained_steps(self, steps: int) -> None:
        """Raise CheckpointError for a number of steps that this checkpoint was not trained on."""
        if steps not in self.trained_steps:
            trained = " and ".join(map(str, self.trained_steps))
            raise CheckpointError(
                f"steps = {steps}",
                f"checkpoint {self.name} was trained on series of {trained} steps, as its card "
                "states (trained_steps)",
                f"Set steps = {self.trained_steps[0]}, choose a checkpoint that was trained on "
                f"{steps}, or set allow_untrained_steps = true to map with it nevertheless",
            )


def parse_card(content: bytes, where: str) -> Card:
    """Read a card; `where` is the file that errors name.

    Raises:
        CheckpointError: The content is no card; the message names the wrong fields.
    """
    if len(content) > MOST_CARD_BYTES:
        raise CheckpointError(
            where,
            f"it has {len(content):,} bytes, and a card {MOST_CARD_BYTES:,} or fewer",
            "Fetch it again",
        )
    try:
        return Card.model_validate_json(content)
    except ValidationError as error:
        raise CheckpointError(
            where, first_few(_problems(error), "; "), "Correct the card, or fetch it again"
        ) from None


def _problems(error: ValidationError, section: str = "") -> Iterator[str]:
    for entry in error.errors(include_url=False, include_input=False):
        place = ".".join(map(str, filter(None, (section, *entry["loc"]))))
        cause = entry.get("ctx", {}).get("error")
        if isinstance(cause, ValidationError):  # of the architecture's own class
            yield from _problems(cause, place)
            continue
        reason = cause.problem if isinstance(cause, CheckpointError) else plain_problem(entry)
        if entry["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            reason = "unknown key"
        yield f"{place}: {reason}" if place else reason
