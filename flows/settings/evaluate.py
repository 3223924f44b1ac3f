"""What a user says of an evaluation: of a checkpoint, or of a finished map."""

from dataclasses import dataclass
from typing import get_args

from models.errors import UserError
from pipeline.evaluation.labels import Level
from pipeline.evaluation.samples import EVALUATED_SPLITS

STEPS = (12, 4, 1)


@dataclass(frozen=True)
class CheckpointEvaluation:
    """A checkpoint on a training set or a table of series (`data`), reported in `out`.

    `label` is compared with the classes of `vocabulary` (a name or a file) or `classes` (words), on
    the rows of `split`, by `region`. `number` is a column that goes, or not, with `positive`
    prompts against `negative` ones. `steps` are the lengths of series. Blocks of `block_km` part a
    table of series; few-shot probes are drawn `draws` times. Raises UserError.
    """

    data: str
    checkpoint: str
    out: str
    vocabulary: str | None = None
    classes: str | None = None
    label: str | None = None
    split: str | None = None
    region: str | None = None
    level: Level | None = None
    number: str | None = None
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    steps: tuple[int, ...] = (12,)
    block_km: float = 50.0
    draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        given = f"an evaluation of {self.checkpoint}"
        words = (self.vocabulary is not None) + (self.classes is not None)
        if self.label is not None and words != 1:
            raise UserError(
                given,
                "labels are compared with classes, of one list",
                "Give either --vocabulary or --classes",
            )
        if self.label is None and words:
            raise UserError(given, "its classes are compared with nothing", "Give --label COLUMN")
        if self.region is not None and self.label is None:
            raise UserError(given, "regions are of labelled rows", "Give --label COLUMN, too")
        asked = [self.number is not None, bool(self.positive), bool(self.negative)]
        if any(asked) and not all(asked):
            raise UserError(
                given,
                "a regression by prompts takes numbers, and what high and low ones mean",
                "Give --number, --positive and --negative",
            )
        if self.split is not None and self.split not in EVALUATED_SPLITS:
            raise UserError(
                f"split {self.split!r}", "no such part", f"Give {', '.join(EVALUATED_SPLITS)}"
            )
        _require_level(self.level)
        if not self.steps or set(self.steps) - set(STEPS) or len(set(self.steps)) < len(self.steps):
            raise UserError(
                f"steps {','.join(map(str, self.steps))}",
                "a series has 12 months, 4 seasons or 1 year",
                "Give one or several of 12, 4 and 1, such as 12,4,1",
            )
        if self.draws < 1:
            raise UserError(f"{self.draws} draws", "nothing would be drawn", "Give 1 or more")


@dataclass(frozen=True)
class MapEvaluation:
    """A finished run's map against reference points, whose classes are in the column `label`.

    `out` is by default the folder `evaluation` in the run's. Raises UserError.
    """

    run: str
    points: str
    label: str
    out: str | None = None
    level: Level | None = None

    def __post_init__(self) -> None:
        _require_level(self.level)


def read_steps(text: str) -> tuple[int, ...]:
    """The numbers of steps in "12,4,1". Raises UserError."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--steps {text}", "these are no numbers", "Write 12, or 12,4,1") from None


def _require_level(level: str | None) -> None:
    if level is not None and level not in get_args(Level):
        raise UserError(f"level {level!r}", "no such level", "Give class or parent")
