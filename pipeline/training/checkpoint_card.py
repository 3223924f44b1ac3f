"""The card of a pretrained checkpoint, the curve of its loss and the table of its validations."""

import io
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.encoder.card import Card
from models.encoder.preprocessing import Preprocessing
from models.encoder.series_encoder import Architecture
from pipeline.training.run_folder import Journal
from pipeline.training_set.card import DatasetCard

_VERSIONS = ("timesen", "torch", "numpy")


def pretrained_card(
    *,
    name: str,
    description: str,
    licence: str,
    demonstration: bool,
    architecture: Architecture,
    preprocessing: Preprocessing,
    trained_steps: tuple[int, ...],
    logit_scale: float,
    data: DatasetCard,
    journal: Journal,
    step: int,
    training: Mapping[str, Any],
) -> Card:
    """The card of an encoder as it was after `step` steps, from what really happened.

    `training` are facts that are not in the journal, such as the recipe. The measures are those of
    the validation after that step.
    """
    ground = data.ground
    found = {entry["step"]: entry for entry in journal.validations}.get(step, {})
    measures = {
        f"validation {steps}": {what: round(value, 4) for what, value in values.items()}
        for steps, values in found.items()
        if steps != "step"
    }
    # The revision of a folder's image tower says nothing of its text tower.
    shared = ground.kind == "texts" or not Path(ground.tower.partition(":")[2]).is_dir()
    return Card(
        name=name,
        description=description,
        demonstration=demonstration,
        architecture=architecture,
        preprocessing=preprocessing,
        trained_steps=trained_steps,
        text_tower=ground.tower,
        text_tower_revision=ground.revision if shared else None,
        logit_scale=logit_scale,
        training={
            **training,
            "steps": step,
            "steps done": journal.steps[-1]["step"] if journal.steps else 0,
            "minutes": round(journal.seconds / 60, 2),
            "sessions": list(journal.sessions),
            "data": {
                "fingerprint": data.fingerprint,
                "points": {split: data.rows(split) for split in data.splits},
                "ground": f"{ground.kind}, up to {ground.views} a point",
                "parted": data.split_rule.model_dump(),
                "attribution": list(data.attribution),
            },
            "versions": {package: version(package) for package in _VERSIONS},
        },
        metrics=measures,
        licence=licence,
    )


def loss_curve(journal: Journal) -> bytes:
    """A PNG: the loss of training and validation over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        [entry["step"] for entry in journal.steps],
        [entry["loss"] for entry in journal.steps],
        color="#9db4c0", linewidth=1, label="training",
    )  # fmt: skip
    lengths = [name for name in (journal.validations or [{}])[0] if name != "step"]
    for number, steps in enumerate(lengths):
        axes.plot(
            [entry["step"] for entry in journal.validations],
            [entry[steps]["loss"] for entry in journal.validations],
            marker="o", markersize=3, color=f"C{number}", label=f"validation, {steps}",
        )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    made = io.BytesIO()
    figure.savefig(made, format="png")
    return made.getvalue()


def measures_of(journal: Journal) -> list[dict[str, Any]]:
    """A table of the validations: for each and each T, `step`, `T`, and its measures, rounded."""
    return [
        {"step": entry["step"], "T": steps.removeprefix("T=")}
        | {name.replace("_", " "): round(value, 4) for name, value in values.items()}
        for entry in journal.validations
        for steps, values in entry.items()
        if steps != "step"
    ]
