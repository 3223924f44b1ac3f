"""What a user says of a student that is to be made."""

from dataclasses import dataclass, fields

from models.errors import UserError


@dataclass(frozen=True)
class DistilSettings:
    """A student of a checkpoint, `teacher`, to be written to `out`.

    The series come from a run's folder (`run`) or a .npy file (`series`), one of them. `pixels`
    are drawn of a run, from `blocks` blocks; `bank` series are labelled by the teacher, and `steps`
    batches of `batch` of them make the student. Raises UserError.
    """

    teacher: str
    out: str
    run: str | None = None
    series: str | None = None
    vocabulary: str = "lucas-land-cover"
    pixels: int = 50_000
    blocks: int = 16
    bank: int = 60_000
    steps: int = 2000
    batch: int = 512
    seed: int = 0
    dim: int = 128
    depth: int = 2
    heads: int = 4
    feedforward: int = 128
    replace: bool = False

    def __post_init__(self) -> None:
        given = f"a student of {self.teacher}"
        if (self.run is None) == (self.series is None):
            raise UserError(
                given,
                "it needs series to learn from, of one source",
                "Give either --run RUN, a run's folder, or --series FILE.npy",
            )
        for field in fields(self):
            if field.type is int and getattr(self, field.name) < (field.name != "seed"):
                raise UserError(given, f"{field.name} is too low", "Give 1 or more")
