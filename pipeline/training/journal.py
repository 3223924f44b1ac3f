"""The journal of a training: its measures, their lines of JSON, a loss curve and a table."""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from models.files.json_text import parse_json


@dataclass(frozen=True)
class Journal:
    """The measures of a training so far.

    Attributes:
        steps: Means over some steps each: `step` (the number of steps done), `loss`,
            `gradient_norm`, `rate`, `temperature`, `seconds`, `points_per_second`.
        validations: `step`, and by "T=12" and so on the measures of `Pretraining.validate`.
        sessions: Each start of the processes: `from_step`, and the machine.
        best: The step of the validation with the lowest loss, `best_loss`.
        worse: The number of validations since then.
    """

    steps: tuple[Mapping[str, float], ...] = ()
    validations: tuple[Mapping[str, Any], ...] = ()
    sessions: tuple[Mapping[str, Any], ...] = ()
    best: int | None = None
    best_loss: float | None = None
    worse: int = 0

    def with_session(self, session: Mapping[str, Any]) -> "Journal":
        """The journal with a start of the processes."""
        return replace(self, sessions=(*self.sessions, session))

    def with_steps(self, entry: Mapping[str, float]) -> "Journal":
        """The journal with means of some steps."""
        return replace(self, steps=(*self.steps, entry))

    def with_validation(self, step: int, by_length: Mapping[str, Mapping[str, float]]) -> "Journal":
        """The journal with a validation, whose first length of series decides which is best."""
        more = replace(self, validations=(*self.validations, {"step": step, **by_length}))
        loss = next(iter(by_length.values()))["loss"]
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            return replace(more, best=step, best_loss=loss, worse=0)
        return replace(more, worse=self.worse + 1)

    @property
    def seconds(self) -> float:
        """Seconds of training; those of starts and of validations are left out."""
        return sum(entry["seconds"] for entry in self.steps)

    def lines(self) -> bytes:
        """All measures as lines of JSON."""
        entries = sorted((*self.steps, *self.validations), key=lambda entry: entry["step"])
        return "".join(json.dumps(entry) + "\n" for entry in entries).encode()

    @classmethod
    def of_lines(cls, lines: bytes) -> "Journal":
        """The steps and validations of such lines."""
        entries = [parse_json(line) for line in lines.splitlines()]
        return cls(
            tuple(entry for entry in entries if "loss" in entry),
            tuple(entry for entry in entries if "loss" not in entry),
        )

    @classmethod
    def of_json(cls, fields: Mapping[str, Any]) -> "Journal":
        """The journal of its fields as JSON values, which know no tuples."""
        values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)


def loss_curve(journal: Journal) -> bytes:
    """A PNG: the loss of training and validation over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        [entry["step"] for entry in journal.steps],
        [entry["loss"] for entry in journal.steps],
        color="#9db4c0",
        linewidth=1,
        label="training",
    )
    lengths = [name for name in (journal.validations or [{}])[0] if name != "step"]
    for number, steps in enumerate(lengths):
        axes.plot(
            [entry["step"] for entry in journal.validations],
            [entry[steps]["loss"] for entry in journal.validations],
            marker="o",
            markersize=3,
            color=f"C{number}",
            label=f"validation, {steps}",
        )
    axes.set(xlabel="step", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def validation_table(journal: Journal) -> list[dict[str, Any]]:
    """The rows of a table: `step`, `T` and rounded measures, of each validation and each T."""
    return [
        {"step": entry["step"], "T": steps.removeprefix("T=")}
        | {name.replace("_", " "): round(value, 4) for name, value in values.items()}
        for entry in journal.validations
        for steps, values in entry.items()
        if steps != "step"
    ]
