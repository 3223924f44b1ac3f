"""The checks of a pretraining before it begins, and its checkpoint when it has ended."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flows.settings.pretrain import PretrainSettings
from flows.training.batches import TRAIN, validation_batches
from flows.training.embedding_sample import embedding_sample
from models.encoder.card import Card
from models.encoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.encoder.checkpoint_folder import require_writable
from models.encoder.encoder_weights import encoder_of_weights
from models.encoder.preprocessing import AUTHORS, Preprocessing
from models.encoder.series_encoder import Architecture, SeriesEncoder
from models.encoder.training_sample import TrainingSample
from models.errors import UserError
from models.pretraining.checks import require_known_bands
from models.pretraining.recipe import Recipe
from models.pretraining.state import AVERAGE, MODEL
from pipeline.errors import DatasetError
from pipeline.io.store import Store
from pipeline.training.journal import Journal, loss_curve
from pipeline.training.run_folder import TrainingRun
from pipeline.training_set.mixture import SetMixture

CURVE = "loss.png"
_SIZEABLE = 0.05  # share of the training rows that lack a band
_VERSIONS = ("timesen", "torch", "numpy")
_ENCODER, _LOG_SCALE = "encoder.", "loss.log_scale"


@dataclass(frozen=True, eq=False)
class Work:
    """A training's settings and data, and the encoder that it begins with."""

    settings: PretrainSettings
    data: SetMixture
    preprocessing: Preprocessing
    architecture: Architecture
    start: Checkpoint | None

    @property
    def run(self) -> TrainingRun:
        """The training's folder."""
        return TrainingRun(Store(self.settings.folder))

    @property
    def validates(self) -> bool:
        """Whether a set has points to validate on."""
        return bool(validation_batches(self.data, self.settings.recipe))

    @property
    def facts(self) -> dict[str, Any]:
        """All that determines the weights, but for the number and the device of the processes."""
        settings, sets = self.settings, self.data.sets
        balance = self.data.balance
        drawing: dict[str, Any] = {
            **({"shares": list(self.data.shares)} if len(sets) > 1 else {}),
            **({} if balance is None else {"balance": asdict(balance)}),
        }
        fingerprints = [one.card.fingerprint for one in sets]
        return {
            "dataset": fingerprints if len(sets) > 1 else fingerprints[0],
            **drawing,
            "start": self.start and self.start.fingerprint,
            "recipe": settings.recipe.model_dump(mode="json"),
            "encoder": None if self.start else settings.encoder.model_dump(mode="json"),
            "normalise": None if self.start else settings.normalise,
            "validate_every": settings.validate_every,
            "patience": settings.patience,
        }


def work_of(settings: PretrainSettings) -> Work:
    """Check all that can be checked before training.

    Raises:
        UserError: Settings, training set and encoder do not fit, or the output folder is in use.
    """
    require_writable(settings.out, settings.replace)
    data = SetMixture.open(
        settings.dataset,
        settings.shares,
        1.0 if settings.set_exponent is None else settings.set_exponent,
        settings.class_balance,
    )
    card, start = data.card, None
    if settings.start is None:
        preprocessing = _preprocessing(settings, data)
        card.require(preprocessing.bands)
        architecture = settings.encoder.architecture(len(preprocessing.bands), card.ground.dim)
    else:
        start = load_checkpoint(settings.start)
        preprocessing, architecture = start.card.preprocessing, start.card.architecture
        card.require(preprocessing.bands, architecture.embedding_dim)
    optional = optional_bands(settings.recipe, data)
    preprocessing = replace(preprocessing, optional_bands=optional)
    if len(data.sets) > 1:
        data.require_batch(settings.recipe.batch)
    elif card.rows(TRAIN) < settings.recipe.batch:
        raise DatasetError(
            f"batches of {settings.recipe.batch}",
            f"{settings.named_sets} has {card.rows(TRAIN)} points to train on, which is less than "
            "one",
            "Give smaller batches",
        )
    work = Work(settings, data, preprocessing, architecture, start)
    if settings.patience is not None and not work.validates:
        raise UserError(
            f"patience {settings.patience}",
            f"{settings.named_sets} has no points to validate on, by which training would end",
            "Pack it again with a validation part, or leave patience out",
        )
    return work


def optional_bands(recipe: Recipe, data: SetMixture) -> tuple[str, ...]:
    """The bands that an encoder learns to do without, in the sets' order.

    These are the bands that the recipe's variations can make absent, and those that 5 % or more
    of the training rows lack; rows of several sets count by the sets' shares.

    Raises:
        UserError: They are all of the set's bands, or the recipe names another band.
    """
    bands = data.card.bands
    require_known_bands(recipe, bands)
    absent = np.zeros(len(bands))
    for one, share in zip(data.sets, data.shares, strict=True):
        if one.card.statistics.absent:  # sets of earlier versions do not state it
            absent += share * np.array(one.card.statistics.absent)
    lacking = [band for band, of in zip(bands, absent, strict=True) if of >= _SIZEABLE]
    optional = tuple(b for b in bands if b in recipe.lost_bands or b in lacking)
    if len(optional) == len(bands):
        raise UserError(
            f"bands {', '.join(optional)}",
            "each of them may be absent, by lost-bands "
            f"({', '.join(recipe.lost_bands) or 'none'}) or in {_SIZEABLE:.0%} or more of the "
            f"training rows ({', '.join(lacking) or 'none'}), so that an encoder could rely on "
            "none",
            "Leave some out of the groups of lost-bands, or pack rows that have them",
        )
    return optional


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint that was trained and saved, as it was after `step` steps."""

    folder: Path
    fingerprint: str
    step: int
    metrics: dict[str, Any]


def finish(work: Work) -> Pretrained:
    """Write the checkpoint of a training that has ended, and its loss curve.

    With it goes a sample of what it was trained on (`flows.training.embedding_sample`). The weights
    are those of the last state, or with `patience` those of the lowest loss. Raises as
    `models.encoder.checkpoint.save_checkpoint`.
    """
    settings, run = work.settings, work.run
    run.store.remove_abandoned_parts()  # of processes that were killed
    last = run.last()
    assert last is not None  # a training that has ended has saved its last state
    state, journal = last
    step, tensors = state.step, state.tensors
    if settings.patience is not None and journal.best is not None:
        step, tensors = journal.best, run.best(journal.best)
    part = _result_part(settings.recipe)
    own = f"{part}.{_ENCODER}"
    weights = {k.removeprefix(own): v for k, v in tensors.items() if k.startswith(own)}
    encoder = encoder_of_weights(work.architecture, weights, settings.folder)
    card = _card(work, journal, step, float(tensors[f"{part}.{_LOG_SCALE}"].exp()))
    run.store.write(CURVE, loss_curve(journal))
    fingerprint = save_checkpoint(
        settings.out,
        encoder,
        card,
        replace=settings.replace,
        training_sample=_sample(encoder, card, work),
    )
    return Pretrained(Path(settings.out), fingerprint, step, card.metrics)


def _sample(encoder: SeriesEncoder, card: Card, work: Work) -> TrainingSample | None:
    trained = Checkpoint(encoder, card, "", Path(work.settings.out))
    return embedding_sample(trained, work.data.sets)


def _card(work: Work, journal: Journal, step: int, logit_scale: float) -> Card:
    """The card of the encoder as it was after `step` steps, with the validation of that step."""
    settings, start, data = work.settings, work.start, work.data
    recipe, ground = settings.recipe, data.card.ground
    validation = next((one for one in journal.validations if one["step"] == step), {})
    # The revision of a folder's image tower says nothing of its text tower.
    kinds = {one.card.ground.kind for one in data.sets}
    shared = kinds == {"texts"} or not Path(ground.tower.partition(":")[2]).is_dir()
    return Card(
        name=settings.name or Path(settings.out).name,
        description=settings.description or _description(data),
        demonstration=settings.demonstration or bool(start and start.card.demonstration),
        architecture=work.architecture,
        preprocessing=work.preprocessing,
        trained_steps=tuple(dict.fromkeys(recipe.months)),
        text_tower=ground.tower,
        text_tower_revision=ground.revision if shared else None,
        logit_scale=logit_scale,
        training={
            "recipe": recipe.model_dump(mode="json"),
            "started from": start and {"name": start.card.name, "fingerprint": start.fingerprint},
            "steps": step,
            "steps done": journal.steps[-1]["step"] if journal.steps else 0,
            "minutes": round(journal.seconds / 60, 2),
            "sessions": list(journal.sessions),
            "data": _data(data),
            "versions": {package: version(package) for package in _VERSIONS},
        },
        metrics={
            f"validation {steps}": {name: round(value, 4) for name, value in measures.items()}
            for steps, measures in validation.items()
            if steps != "step"
        },
        licence=settings.licence,
    )


def _description(data: SetMixture) -> str:
    if len(data.sets) == 1:
        return f"Pretrained on the training set {data.fingerprint}"
    return f"Pretrained on the training sets {', '.join(data.names)}"


def _data(data: SetMixture) -> dict[str, Any]:
    """What a card says about the training sets."""
    described = [
        {
            "fingerprint": one.card.fingerprint,
            "points": {split: one.rows(split) for split in one.card.splits},
            "ground": f"{one.card.ground.kind}, up to {one.card.ground.views} a point",
            "split": one.card.split_rule.model_dump(),
            "attribution": list(one.card.attribution),
        }
        for one in data.sets
    ]
    balance = {} if data.balance is None else {"balance": asdict(data.balance)}
    if len(described) == 1:
        return described[0] | balance
    named = zip(data.names, data.shares, described, strict=True)
    texts = dict.fromkeys(text for one in data.sets for text in one.card.attribution)
    return {
        "fingerprint": data.fingerprint,
        "points": {split: data.rows(split) for split in data.card.splits},
        "sets": [{"name": name, "share": round(share, 6)} | one for name, share, one in named],
        "attribution": list(texts),
    } | balance


def model_of(tensors: Mapping[str, torch.Tensor], recipe: Recipe) -> dict[str, torch.Tensor]:
    """The tensors of a state that `finish` needs."""
    part = _result_part(recipe)
    needed = (f"{part}.{_ENCODER}", f"{part}.{_LOG_SCALE}")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(needed)}


def _result_part(recipe: Recipe) -> str:
    """The part of a state that becomes the checkpoint."""
    return MODEL if recipe.weight_average is None else AVERAGE


def _preprocessing(settings: PretrainSettings, data: SetMixture) -> Preprocessing:
    """The preprocessing of a new encoder: the authors', or the set's 1 and 99 % become 0 and 1.

    Of several sets, these quantiles are the means by their shares. Raises DatasetError where no set
    has values of a band that should be normalised by them.
    """
    if settings.normalise == "authors":
        return AUTHORS
    bands = data.card.bands
    # A set in which no row has a band says nothing of it.
    seen = np.array([one.card.statistics.mean for one in data.sets]) > 0
    if unseen := [band for place, band in enumerate(bands) if not seen[:, place].any()]:
        raise DatasetError(
            'normalise = "dataset"',
            f"no training row of {settings.named_sets} has {', '.join(unseen)}, so that there are "
            "no quantiles of it",
            'Set normalise = "authors", or pack rows that have it',
        )
    weights = seen * np.array(data.shares)[:, None]
    low, high = (
        tuple(np.average(found, axis=0, weights=weights).tolist())
        for found in (
            [one.card.statistics.quantiles[percent] for one in data.sets] for percent in ("1", "99")
        )
    )
    spread = tuple(max(top - bottom, 1.0) for bottom, top in zip(low, high, strict=True))
    return Preprocessing(data.card.bands, low, spread, 0.0, "annual-median", AUTHORS.scl_keep)
