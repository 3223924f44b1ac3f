"""A distilled student: how often its map agrees with its teacher's, and its card."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.encoder.card import Card
from models.encoder.checkpoint import Checkpoint
from models.encoder.series_encoder import Architecture
from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary
from pipeline.classification.classify import make_classifier


@dataclass(frozen=True)
class ClassAgreement:
    """The pixels to which the teacher gives a class, and the share where the student agrees."""

    name: str
    pixels: int
    same: float


@dataclass(frozen=True)
class StudentAgreement:
    """How far a student agrees with its teacher about some pixels.

    Attributes:
        vocabulary: Its name.
        pixels: Their number.
        cosine: The mean cosine of their embeddings.
        same: The share (0 … 1) of pixels that are the same on both maps.
        by_class: The classes that the teacher's map shows, in the vocabulary's order.
        left_out: Pixels of which the teacher gives no finite embedding; not in `pixels`.
    """

    vocabulary: str
    pixels: int
    cosine: float
    same: float
    by_class: tuple[ClassAgreement, ...]
    left_out: int = 0

    def metrics(self) -> dict[str, Any]:
        """The metrics of the student's card."""
        same = f"same class as the teacher, {self.vocabulary}"
        return {
            "held-out series": self.pixels,
            "mean cosine to the teacher": round(self.cosine, 4),
            same: round(self.same, 4),
            f"{same}, by the teacher's class": {
                entry.name: {"series": entry.pixels, "same": round(entry.same, 4)}
                for entry in self.by_class
            },
        } | ({"held-out series left out": self.left_out} if self.left_out else {})

    def markdown(self) -> str:
        """A table with a line for each class."""
        lines = [f"| {self.vocabulary}, the teacher's class | series | same |", "|---|---:|---:|"]
        lines += [f"| {c.name} | {c.pixels} | {c.same:.1%} |" for c in self.by_class]
        lines.append(f"| all | {self.pixels} | {self.same:.1%} |")
        return "\n".join(lines)


def student_agreement(
    teacher: torch.Tensor,
    student: torch.Tensor,
    vocabulary: Vocabulary,
    text: TextEmbeddings,
    logit_scale: float,
) -> StudentAgreement:
    """Compare two encoders' embeddings of the same pixels, both float32 (pixel, dim).

    Classes are those that a map shows: with the vocabulary's level, biases and "none of these".
    Pixels of which the teacher gives no finite embedding are left out and counted. Where the
    student gives none, it does not agree, and the cosine counts as 0.
    """
    finite = teacher.isfinite().all(dim=1)
    left_out = int((~finite).sum())
    teacher, student = teacher[finite], student[finite]
    classifier = make_classifier(vocabulary, text, logit_scale, teacher.device)
    of_teacher, of_student = (
        classifier.classify(part).place.cpu().numpy() for part in (teacher, student)
    )
    same = of_teacher == of_student
    names = [entry.name for entry in vocabulary.legend]
    return StudentAgreement(
        vocabulary=vocabulary.name,
        pixels=len(same),
        cosine=float((teacher * student).sum(dim=1).nan_to_num().mean()),
        same=float(same.mean()),
        by_class=tuple(
            ClassAgreement(
                names[place],
                int((of_teacher == place).sum()),
                float(same[of_teacher == place].mean()),
            )
            for place in np.unique(of_teacher)
        ),
        left_out=left_out,
    )


def student_card(
    name: str,
    teacher: Checkpoint,
    architecture: Architecture,
    training: Mapping[str, Any],
    measured: StudentAgreement,
) -> Card:
    """The card of a student: its preprocessing, text tower and licence are the teacher's.

    `training` is added to the teacher's name and fingerprint. The teacher's calibrations are not
    taken over: nobody measured how far they hold for the student.
    """
    card = teacher.card
    return card.model_copy(
        update={
            "name": name,
            "description": f"A student of {card.name}: a smaller encoder that was trained to give "
            f"its embeddings. The teacher: {card.description}",
            "architecture": architecture,
            "calibrations": (),
            "trained_steps": (architecture.months,),
            "training": {"teacher": card.name, "teacher's fingerprint": teacher.fingerprint}
            | dict(training),
            "metrics": measured.metrics(),
        }
    )
