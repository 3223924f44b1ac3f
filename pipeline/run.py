"""A run made ready: settings → region, checkpoint, words, frozen items, cells, open folder."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from models.checkpoint import Card, Checkpoint, load_checkpoint
from models.errors import CheckpointError
from models.text import load_text_tower
from models.vocabulary import Vocabulary, embed_vocabulary, load_vocabulary, vocabulary_from_words
from pipeline.catalog import search
from pipeline.frozen import ITEMS, load_items, save_items
from pipeline.grid import Cell
from pipeline.item import Item
from pipeline.layout import FAILURES, RUN
from pipeline.manifest import RunManifest, fingerprint
from pipeline.normalise import normalise, require_bands, resolve_duplicates
from pipeline.plan import Plan, make_plan
from pipeline.product import finished_cells, open_run, read_run
from pipeline.region import Region, read_region
from pipeline.settings import MapSettings
from pipeline.storage import Store, public_url

TEXT = "text.safetensors"
VOCABULARY = "vocabulary.json"


@dataclass(frozen=True)
class Run:
    """What a worker needs to know of a run; small and picklable.

    `text` is float32 (class, dim), the vocabulary's text embeddings in the order of its classes.
    `checkpoint` is what `load_checkpoint` takes, `checkpoint_fingerprint` what it must then have.
    """

    settings: MapSettings
    store: Store
    region: Region
    manifest: RunManifest
    checkpoint: str
    checkpoint_fingerprint: str
    card: Card
    vocabulary: Vocabulary
    text: np.ndarray

    @property
    def keep_scl(self) -> tuple[int, ...]:
        """The scene classes that count as clear: the user's, else those of the training."""
        return self.settings.reading.keep_scl or self.card.preprocessing.scl_keep


@dataclass(frozen=True)
class PreparedRun:
    """A run whose folder is open and whose work is known: each cell and the items it reads."""

    run: Run
    plan: Plan
    cells: tuple[Cell, ...]
    items: tuple[Item, ...]

    def items_of(self, cell: Cell) -> tuple[Item, ...]:
        """The items of a cell's tile, by time."""
        return tuple(item for item in self.items if item.tile == cell.tile.name)

    def unfinished(self) -> tuple[Cell, ...]:
        """The cells that are still to be done."""
        done = finished_cells(self.run.store, self.run.manifest.fingerprint)
        return tuple(cell for cell in self.cells if cell.id not in done)


def prepare_run(settings: MapSettings) -> PreparedRun:
    """Check everything that can be checked before hours of computing, and open the run's folder.

    A folder that holds this run already is gone on with, from its own frozen items; one that
    holds another is refused once a cell of it is finished. Raises a UserError for whatever the
    user must mend, WorldError where catalogue or storage fail.
    """
    store = Store(settings.out)
    region = read_region(settings.region)
    checkpoint = load_checkpoint(settings.checkpoint)
    card = checkpoint.card
    vocabulary = _vocabulary(settings)
    parts = _parts(settings, region, checkpoint, vocabulary)
    resumed = _holds(store, parts)
    text = _text_embeddings(store, resumed, card, vocabulary)
    published = None if resumed else search(region, settings)
    items = load_items(store) if published is None else [normalise(item) for item in published]
    items = resolve_duplicates(items)
    require_bands(items, card.preprocessing.bands, settings.reading.substitute)
    plan = make_plan(settings, region, items, checkpoint)
    manifest = open_run(store, parts, settings.model_dump(mode="json"))
    if published is not None:
        store.write(VOCABULARY, vocabulary.model_dump_json(indent=2).encode() + b"\n")
        store.write(TEXT, save_tensors({"text": text}))
        plan.write(store)
        save_items(store, published)  # last: with it, the run can go on without the catalogue
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
    )
    return PreparedRun(run, plan, plan.cells, tuple(items))


def _vocabulary(settings: MapSettings) -> Vocabulary:
    if settings.classes is not None:
        return vocabulary_from_words(settings.classes)
    assert settings.vocabulary is not None  # MapSettings holds that one of the two is given
    return load_vocabulary(settings.vocabulary)


def _parts(
    settings: MapSettings, region: Region, checkpoint: Checkpoint, vocabulary: Vocabulary
) -> dict[str, Any]:
    """Everything that the run's results depend on."""
    words = vocabulary.model_dump_json().encode()
    return {
        "timesen": version("timesen"),
        "checkpoint": f"{checkpoint.card.name} {checkpoint.fingerprint[:12]}",
        "vocabulary": f"{vocabulary.name} {hashlib.sha256(words).hexdigest()[:12]}",
        "region": f"{region.source} {hashlib.sha256(region.geometry.wkb).hexdigest()[:12]}",
        "year": settings.year,
        "first_month": settings.first_month,
        "cell_size": settings.cell_size,
        "catalog": settings.catalog.model_dump(mode="json")
        | {"url": public_url(settings.catalog.url)},
        "reading": settings.reading.model_dump(mode="json"),
    }


def _holds(store: Store, parts: Mapping[str, Any]) -> bool:
    """Whether the folder holds this run, planned to the end.

    A run of other parts of which no cell is finished yet is cleared away: nothing is lost by it.
    """
    if store.is_file() or not store.exists(RUN):
        return False
    manifest = read_run(store)
    if manifest.fingerprint == fingerprint(parts):
        return store.exists(ITEMS)
    if not finished_cells(store, manifest.fingerprint):
        for key in (ITEMS, TEXT, VOCABULARY, *store.keys("plan"), *store.keys(FAILURES), RUN):
            store.remove(key)
    return False


def _text_embeddings(store: Store, resumed: bool, card: Card, vocabulary: Vocabulary) -> np.ndarray:
    """The vocabulary's text embeddings, float32 (class, dim); a run embeds its words once."""
    if resumed and store.exists(TEXT):
        return load_tensors(store.read(TEXT))["text"]
    tower = load_text_tower(card.text_tower, card.text_tower_revision)
    if tower.dim != card.architecture.embedding_dim:
        raise CheckpointError(
            f"checkpoint {card.name}",
            f"it embeds into {card.architecture.embedding_dim} dimensions, and its text tower "
            f"{card.text_tower} into {tower.dim}",
            "Name on the card the text tower that it was trained with",
        )
    return embed_vocabulary(vocabulary, tower)
