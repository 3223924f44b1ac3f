"""The preparation of a run: settings → region, checkpoint, text embeddings, items, plan, folder."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from models.encoder.card import Card
from models.encoder.checkpoint import CHECKPOINT_SAMPLE, Checkpoint, load_checkpoint
from models.encoder.training_sample import TrainingSample
from models.errors import CheckpointError
from models.towers.text_embeddings import TextEmbeddings, embed_for_checkpoint
from models.vocabulary.vocabulary import (
    Vocabulary,
    load_vocabulary,
    make_vocabulary,
    vocabulary_from_words,
)
from pipeline.catalog.description import CatalogDescription, describe_catalog
from pipeline.catalog.item import Item
from pipeline.catalog.item_snapshot import make_snapshot, read_snapshot
from pipeline.catalog.normalise import items_without, require_bands
from pipeline.catalog.search import search
from pipeline.classification.classify import Classifier, make_classifier
from pipeline.classification.examples import ExampleFit
from pipeline.errors import CatalogError, OutputError
from pipeline.grid.cells import Cell
from pipeline.grid.region import Region, read_region
from pipeline.io.fingerprint import differences
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE, TEXT_FILE, VOCABULARY_FILE
from pipeline.mapping.embedding_source import EMBEDDED_BY, items_from_embeddings
from pipeline.mapping.example_points import ExamplePoints, read_example_points
from pipeline.mapping.plan import Plan, make_plan
from pipeline.observations.reading import Reading, reading_of
from pipeline.product.ledger import finished_cells, held_run, open_run, require_replaceable
from pipeline.product.manifest import RunManifest
from pipeline.raster.access import Access
from pipeline.raster.gdal_env import require_proj_data
from pipeline.settings.map import MapSettings

# A run's fingerprint holds every setting but these, so that none is forgotten: those whose content
# it holds instead of their name, and those on which no result depends.
_KNOWN_BY_CONTENT = frozenset(
    {
        *("region", "vocabulary", "classes", "level", "examples", "label"),
        *("checkpoint", "catalog", "embeddings"),
    }
)
_NEWER = frozenset({"unlike_training"})  # off by default, and the first runs did not know of it
_WITHOUT_EFFECT = frozenset({"out", "cluster", "batch_size", "allow_untrained_steps"})


@dataclass(frozen=True)
class Run:
    """Everything about a run that its workers need; small and picklable.

    Attributes:
        settings: The user's settings.
        store: The run's folder.
        region: The region to map.
        manifest: The manifest in the folder.
        checkpoint: The name or path that `load_checkpoint` takes.
        checkpoint_fingerprint: The fingerprint that it must have when a worker loads it.
        card: Its card.
        vocabulary: The classes.
        text: The text embeddings of the vocabulary.
        training_sample: What the checkpoint was trained on, if `unlike_training` is mapped.
        access: How the catalogue's rasters are opened.
        examples: What was fitted to the user's labelled examples, if there are any, before any cell
            is mapped.
    """

    settings: MapSettings
    store: Store
    region: Region
    manifest: RunManifest
    checkpoint: str
    checkpoint_fingerprint: str
    card: Card
    vocabulary: Vocabulary
    text: TextEmbeddings
    training_sample: TrainingSample | None
    access: Access
    examples: ExampleFit | None = None

    def classifier(self, device: torch.device) -> Classifier:
        """The classifier of the run's pixels, on a device.

        Raises ValueError where the run has examples and they are not fitted (`fitted_run`).
        """
        if (self.settings.examples is None) != (self.examples is None):
            raise ValueError("the run's examples must be fitted before its pixels are classified")
        cache = None if self.examples is None else self.examples.cache
        return replace(self.words(device), examples=cache and cache.to(device))

    def words(self, device: torch.device) -> Classifier:
        """The classifier by words alone, on a device."""
        return make_classifier(self.vocabulary, self.text, self.logit_scale, device)

    @property
    def logit_scale(self) -> float:
        """The factor of the cosine: the calibration of the vocabulary, else the checkpoint's."""
        return self.card.logit_scale_of(self.vocabulary.identity, self.settings.steps)

    @property
    def reading(self) -> Reading:
        """The bands, masking and reader of the run's observations."""
        inputs = self.card.preprocessing
        return reading_of(
            self.settings.reading,
            inputs.bands,
            inputs.scl_keep,
            self.access,
            inputs.optional_bands,
        )


@dataclass(frozen=True)
class PreparedRun:
    """A run with an open folder, and its work: the cells and the items that each reads.

    `points` are the user's labelled examples, if there are any.
    """

    run: Run
    plan: Plan
    cells: tuple[Cell, ...]
    items: tuple[Item, ...]
    points: ExamplePoints | None = None

    def items_of(self, cell: Cell) -> tuple[Item, ...]:
        """The items of a cell's tile, by time."""
        return self._by_tile.get(cell.tile.name, ())

    @cached_property
    def _by_tile(self) -> dict[str, tuple[Item, ...]]:
        by_tile: defaultdict[str, list[Item]] = defaultdict(list)
        for item in self.items:
            by_tile[item.tile].append(item)
        return {tile: tuple(items) for tile, items in by_tile.items()}

    def unfinished(self) -> tuple[Cell, ...]:
        """The cells that are not finished."""
        done = finished_cells(self.run.store, self.run.manifest.fingerprint)
        return tuple(cell for cell in self.cells if cell.id not in done)


def prepare_run(settings: MapSettings) -> PreparedRun:
    """Check everything that can be checked before hours of computing, and open the run's folder.

    If the folder holds this run already, the run continues with its own snapshot of items. If it
    holds another run of which a cell is begun, it is refused. Raises a UserError for whatever the
    user must mend, WorldError where catalogue or storage fail.
    """
    require_proj_data()
    store = Store(settings.out)
    region = read_region(settings.region)
    checkpoint = load_checkpoint(settings.checkpoint)
    card = checkpoint.card
    if not settings.allow_untrained_steps:
        card.require_trained_steps(settings.steps)
    training_sample = _training_sample(settings, checkpoint)
    vocabulary = _vocabulary(settings)
    points = _example_points(settings, region, vocabulary)
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    parts = _known_parts(settings, region, checkpoint, vocabulary, catalog)
    if points is not None:  # a run without examples has no such part, as before there were any
        parts["examples"] = points.fingerprint
    source = items_from_embeddings(settings.embeddings, parts) if settings.embeddings else None
    held = _held_snapshot(store, parts)
    if held is not None and store.exists(TEXT_FILE):
        text = TextEmbeddings.from_tensors(load_tensors(store.read(TEXT_FILE)))
    else:
        text = embed_for_checkpoint(vocabulary, card)
    refused: Sequence[CatalogError] = ()
    shortfalls: Sequence[str] = ()
    if snapshot := held or source:
        items = read_snapshot(snapshot, public_url(store.path(ITEMS_FILE)), catalog.conventions)
    else:
        results = search(region, settings, catalog)
        items, refused, shortfalls = results.items, results.refused, results.shortfalls
        snapshot = make_snapshot(results.published, catalog)
    inputs, substitute = card.preprocessing, settings.reading.substitute
    require_bands(items, inputs.bands, substitute, inputs.optional_bands)
    access = catalog.access.access()
    plan = make_plan(
        settings,
        region,
        items,
        checkpoint,
        refused=refused,
        shortfalls=shortfalls,
        requests=access.requests,
    )
    if held is None:
        store.write(VOCABULARY_FILE, vocabulary.model_dump_json(indent=2).encode() + b"\n")
        store.write(TEXT_FILE, save_tensors(text.tensors()))
        store.write(ITEMS_FILE, snapshot)
        plan.write(store)
    parts |= {
        "items": _digest(snapshot),
        "substituted": {b: other for b, other in substitute.items() if items_without(items, [b])},
        "attributions": sorted({item.attribution for item in items}),
    }
    if plan.absent_bands:
        parts["absent bands"] = list(plan.absent_bands)
    manifest = open_run(store, parts, settings.model_dump(mode="json"))
    run = Run(
        settings=settings,
        store=store,
        region=region,
        manifest=manifest,
        checkpoint=str(checkpoint.path),
        checkpoint_fingerprint=checkpoint.fingerprint,
        card=card,
        vocabulary=vocabulary,
        text=text,
        training_sample=training_sample,
        access=access,
    )
    return PreparedRun(run, plan, plan.cells, tuple(items), points)


def _training_sample(settings: MapSettings, checkpoint: Checkpoint) -> TrainingSample | None:
    """The checkpoint's sample, if the run asks for what is unlike it."""
    if not settings.unlike_training:
        return None
    sample, name = checkpoint.training_sample, checkpoint.card.name
    if sample is None:
        raise CheckpointError(
            "unlike_training = true",
            f"checkpoint {name} has no {CHECKPOINT_SAMPLE}, which says what it was trained on",
            "Leave it out, or take a checkpoint of `timesen pretrain`, which writes the file",
        )
    if sample.steps != settings.steps:
        raise CheckpointError(
            "unlike_training = true",
            f"the {CHECKPOINT_SAMPLE} of checkpoint {name} is of series of {sample.steps} steps, "
            f"and steps is {settings.steps}",
            f"Leave it out, or set steps = {sample.steps}",
        )
    return sample


def _vocabulary(settings: MapSettings) -> Vocabulary:
    if settings.classes is not None:
        return vocabulary_from_words(settings.classes)
    assert settings.vocabulary is not None  # MapSettings requires one of the two
    vocabulary = load_vocabulary(settings.vocabulary)
    if settings.level in (None, vocabulary.level):
        return vocabulary
    return make_vocabulary(
        vocabulary.model_dump() | {"level": settings.level},
        settings.vocabulary,
        'Give each class a parent in the file, or leave level = "parent" out',
    )


def _example_points(
    settings: MapSettings, region: Region, vocabulary: Vocabulary
) -> ExamplePoints | None:
    if settings.examples is None or settings.label is None:
        return None
    return read_example_points(Path(settings.examples), settings.label, vocabulary, region)


def _known_parts(
    settings: MapSettings,
    region: Region,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    catalog: CatalogDescription,
) -> dict[str, Any]:
    """The parts of the fingerprint that are known before the search for items."""
    bounds = ",".join(f"{edge:.5f}" for edge in region.geometry.bounds)
    calibration = checkpoint.card.calibration_of(vocabulary.identity, settings.steps)
    # What a run has not is left out, so that runs that were begun before keep their fingerprints.
    unset = {name for name in _NEWER if not getattr(settings, name)}
    newer: dict[str, Any] = {}
    if calibration is not None:
        newer["logit_scale"] = calibration.logit_scale
    if checkpoint.embedding_fingerprint != checkpoint.fingerprint:
        newer[EMBEDDED_BY] = f"{checkpoint.card.name} {checkpoint.embedding_fingerprint[:12]}"
    return newer | {
        "timesen": version("timesen"),
        "checkpoint": f"{checkpoint.card.name} {checkpoint.fingerprint[:12]}",
        "vocabulary": f"{vocabulary.name} {_digest(vocabulary.model_dump_json().encode())}",
        "region": f"{bounds} {_digest(region.geometry.wkb)}",
        **settings.model_dump(mode="json", exclude={*_KNOWN_BY_CONTENT, *_WITHOUT_EFFECT, *unset}),
        "catalog": settings.catalog.model_dump(mode="json", exclude={"accept_incomplete"})
        | {
            "url": public_url(settings.catalog.url),
            "assets": _digest(catalog.model_dump_json(include={"assets", "offset"}).encode()),
        },
        "embeddings": settings.embeddings is not None,
    }


def _held_snapshot(store: Store, parts: Mapping[str, Any]) -> bytes | None:
    """The snapshot of items in the folder of a run with these parts; None if it must be planned.

    Raises OutputError where cells of another run are begun there, or where finished cells were
    made of other items.
    """
    held = held_run(store)
    if held is None:
        return None
    differing = differences({k: v for k, v in held.parts.items() if k in parts}, parts)
    if differing:
        require_replaceable(store, differing)
        return None
    content = store.read(ITEMS_FILE) if store.exists(ITEMS_FILE) else b""
    if _digest(content) == held.parts.get("items"):
        return content
    if finished_cells(store, held.fingerprint):
        raise OutputError(
            public_url(store.path(ITEMS_FILE)),
            f"the snapshot of items is {'changed' if content else 'gone'}, and finished cells were "
            "made of the former one",
            "Put the run's own file back, or map into another folder",
        )
    return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
