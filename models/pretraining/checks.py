"""What is checked before anything is trained: that recipe, encoder, device and batch fit."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from models.encoder.preprocessing import Preprocessing
from models.encoder.series_encoder import Architecture, SeriesEncoder
from models.errors import PretrainingError
from models.pretraining.batch import Batch
from models.pretraining.recipe import Recipe


def require_together(
    recipe: Recipe,
    preprocessing: Preprocessing,
    architecture: Architecture,
    device: torch.device,
    start: SeriesEncoder | None,
) -> None:
    """Raise PretrainingError for a recipe by which this encoder cannot be trained here."""
    given, problem, remedy = "the recipe", None, "Correct it"
    lengths = architecture.series_lengths
    if recipe.precision == "float16" and device.type != "cuda":
        problem, remedy = "precision float16 needs a GPU", "Take bfloat16 or float32"
    elif len(preprocessing.bands) != architecture.bands:
        given = "the architecture"
        problem = f"it has {architecture.bands} bands, the preprocessing {len(preprocessing.bands)}"
    elif architecture.months != preprocessing.months:
        given = "the architecture"
        problem = f"it has {architecture.months} months, the preprocessing {preprocessing.months}"
    elif any(months not in lengths for months in recipe.months):
        problem = f"months {recipe.months}: the architecture takes {lengths}"
    elif start is not None and start.architecture != architecture:
        given = "the checkpoint to start from"
        changed = field_differences(asdict(start.architecture), asdict(architecture))
        problem = f"its sizes are others: {changed}"
        remedy = "Take its architecture, or start from none"
    if problem:
        raise PretrainingError(given, problem, remedy)


def require_fitting(batch: Batch, preprocessing: Preprocessing, dim: int) -> None:
    """Raise PretrainingError for a batch that the encoder cannot be trained on."""
    problem = None
    n, bands = len(batch), len(preprocessing.bands)
    views = batch.present.shape[-1]
    for name, array, shape in (
        ("series", batch.series, (n, preprocessing.months, bands)),
        ("present", batch.present, (n, views)),
        ("ground", batch.ground, (n, views, dim)),
        ("keys", batch.keys, (n, views)),
    ):
        if array.shape != shape and problem is None:
            problem = f"its {name} is {array.shape}, and the encoder takes {shape}"
    if problem is None:
        for what, amiss in (
            ("no clear observation", ~batch.series.any(axis=(1, 2))),
            ("no ground view", ~batch.present.any(axis=1)),
        ):
            if amiss.any() and problem is None:
                names = ", ".join(batch.ids[row] for row in np.flatnonzero(amiss)[:5])
                problem = f"{int(amiss.sum())} of its points have {what} ({names})"
    if problem:
        raise PretrainingError(
            f"a batch of {n} points", problem, "Pack the training set anew, for this encoder"
        )


def field_differences(was: Any, wanted: Any) -> str:
    """What differs between two objects of JSON, field by field."""
    if not isinstance(was, dict) or not isinstance(wanted, dict):
        return f"{was!r}, not {wanted!r}"
    return ", ".join(
        f"{name} {was.get(name)!r}, not {wanted.get(name)!r}"
        for name in dict.fromkeys((*was, *wanted))
        if was.get(name) != wanted.get(name)
    )
