"""The calibration of a checkpoint's confidence for one vocabulary, as its card states it."""

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


class ReliabilityBin(BaseModel):
    """The held-out points of one interval of confidence.

    Attributes:
        confidence: Their mean confidence, 0 … 1.
        accuracy: The share of them whose class was right, 0 … 1.
        points: How many they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: FiniteFloat = Field(ge=0, le=1)
    accuracy: FiniteFloat = Field(ge=0, le=1)
    points: int = Field(ge=1)


class VocabularyCalibration(BaseModel):
    """The logit scale under which the confidence of a vocabulary's classes is a probability.

    Attributes:
        vocabulary: Name and hash of the words, as `Vocabulary.identity` says it: an edited file of
            the same name is another vocabulary.
        steps: The number of steps T of the series that it was fitted to.
        logit_scale: The logit scale (1 / temperature) that was fitted to all points.
        points: The number of points.
        data: The points, in words.
        ece_before: The expected calibration error of the points with the card's own logit scale.
        ece_after: The same with scales that were fitted to points of other blocks of land.
        reliability: Confidence and accuracy with the latter scales, by intervals of confidence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocabulary: str = Field(min_length=1)
    steps: int = Field(ge=1)
    logit_scale: FiniteFloat = Field(gt=0)
    points: int = Field(ge=1)
    data: str = Field(min_length=1)
    ece_before: FiniteFloat = Field(ge=0, le=1)
    ece_after: FiniteFloat = Field(ge=0, le=1)
    reliability: tuple[ReliabilityBin, ...] = Field(fail_fast=True, max_length=1000)
