"""Checks before a training: recipe, encoder, device and batch must fit together."""

from collections.abc import Sequence
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
    if recipe.precision == "float16" and device.type != "cuda":
        raise PretrainingError(
            "the recipe", "precision float16 needs a GPU", "Take bfloat16 or float32"
        )
    for what, own, other in (
        ("bands", architecture.bands, len(preprocessing.bands)),
        ("months", architecture.months, preprocessing.months),
    ):
        if own != other:
            problem = f"it has {own} {what}, the preprocessing {other}"
            raise PretrainingError("the architecture", problem, "Correct it")
    require_known_bands(recipe, preprocessing.bands)
    lengths = architecture.series_lengths
    if not set(recipe.months) <= set(lengths):
        problem = f"months {recipe.months}: the architecture takes {lengths}"
        raise PretrainingError("the recipe", problem, "Correct it")
    if start is not None and start.architecture != architecture:
        changed = field_differences(asdict(start.architecture), asdict(architecture))
        raise PretrainingError(
            "the checkpoint to start from",
            f"its sizes are others: {changed}",
            "Take its architecture, or start from none",
        )


def require_known_bands(recipe: Recipe, bands: Sequence[str]) -> None:
    """Raise PretrainingError where the variation lost-bands names other bands than these."""
    if strange := [band for band in recipe.lost_bands if band not in bands]:
        raise PretrainingError(
            "the variation lost-bands",
            f"it can lose {', '.join(strange)}; the series have {', '.join(bands)}",
            "Set its groups, such as lost-bands:groups=B8A/B05+B06+B07",
        )


def require_fitting(batch: Batch, preprocessing: Preprocessing, dim: int) -> None:
    """Raise PretrainingError for a batch that the encoder cannot be trained on."""
    if problem := _problem(batch, preprocessing, dim):
        raise PretrainingError(
            f"a batch of {len(batch)} points",
            problem,
            "Pack the training set anew, for this encoder",
        )


def _problem(batch: Batch, preprocessing: Preprocessing, dim: int) -> str | None:
    n, views = len(batch), batch.present.shape[-1]
    for name, shape in (
        ("series", (n, preprocessing.months, len(preprocessing.bands))),
        ("present", (n, views)),
        ("ground", (n, views, dim)),
    ):
        if (found := getattr(batch, name).shape) != shape:
            return f"its {name} is {found}, and the encoder takes {shape}"
    if len(batch.keys) != n or batch.keys.shape[1] < views:
        return f"its keys are {batch.keys.shape}, fewer than its views {(n, views)}"
    for lack, lacking in (
        ("no clear observation", ~batch.series.any(axis=(1, 2))),
        ("no ground view", ~batch.present.any(axis=1)),
    ):
        if lacking.any():
            names = ", ".join(batch.ids[row] for row in np.flatnonzero(lacking)[:5])
            return f"{int(lacking.sum())} of its points have {lack} ({names})"
    return None


def field_differences(was: Any, wanted: Any) -> str:
    """The differences between two objects of JSON, field by field, in words."""
    if not isinstance(was, dict) or not isinstance(wanted, dict):
        return f"{was!r}, not {wanted!r}"
    return ", ".join(
        f"{name} {was.get(name)!r}, not {wanted.get(name)!r}"
        for name in dict.fromkeys((*was, *wanted))
        if was.get(name) != wanted.get(name)
    )
