"""A run made ready: settings → region, checkpoint, words, frozen items, cells, open folder."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from models.encoder.card import Card
from models.encoder.checkpoint import Checkpoint, load_checkpoint
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
from pipeline.catalog.normalise import require_bands
from pipeline.catalog.search import search
from pipeline.errors import CatalogError, OutputError
from pipeline.grid.cells import Cell
from pipeline.grid.region import Region, read_region
from pipeline.io.fingerprint import differences
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE, TEXT_FILE, VOCABULARY_FILE
from pipeline.mapping.embedding_source import items_from_embeddings
from pipeline.mapping.plan import Plan, make_plan
from pipeline.observations.reading import Reading, reading_of
from pipeline.product.ledger import finished_cells, held_run, open_run, require_replaceable
from pipeline.product.manifest import RunManifest
from pipeline.raster.access import Access
from pipeline.settings.map import MapSettings


@dataclass(frozen=True)
class Run:
    """What a worker needs to know of a run; small and picklable.

    `text` are the vocabulary's text embeddings.
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
    text: TextEmbeddings
    access: Access

    @property
    def reading(self) -> Reading:
        """How the run's observations are read."""
        inputs = self.card.preprocessing
        return reading_of(self.settings.reading, inputs.bands, inputs.scl_keep, self.access)


@dataclass(frozen=True)
class PreparedRun:
    """A run whose folder is open and whose work is known: each cell and the items it reads."""

    run: Run
    plan: Plan
    cells: tuple[Cell, ...]
    items: tuple[Item, ...]

    def items_of(self, cell: Cell) -> tuple[Item, ...]:
        """The items of a cell's tile, by time."""
        return self._by_tile.get(cell.tile.name, ())

    @cached_property
    def _by_tile(self) -> dict[str, tuple[Item, ...]]:
        found: defaultdict[str, list[Item]] = defaultdict(list)
        for item in self.items:
            found[item.tile].append(item)
        return {tile: tuple(items) for tile, items in found.items()}

    def unfinished(self) -> tuple[Cell, ...]:
        """The cells that are still to be done."""
        done = finished_cells(self.run.store, self.run.manifest.fingerprint)
        return tuple(cell for cell in self.cells if cell.id not in done)


def prepare_run(settings: MapSettings) -> PreparedRun:
    """Check everything that can be checked before hours of computing, and open the run's folder.

    A folder that holds this run already is continued, from its own snapshot of the items; one
    that holds another run is refused once a cell of it is begun. Raises a UserError for
    whatever the user must mend, WorldError where catalogue or storage fail.
    """
    store = Store(settings.out)
    region = read_region(settings.region)
    checkpoint = load_checkpoint(settings.checkpoint)
    card = checkpoint.card
    if not settings.allow_untrained_steps:
        card.require_trained_steps(settings.steps)
    vocabulary = _vocabulary(settings)
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    asked = _asked(settings, region, checkpoint, vocabulary, catalog)
    kept = items_from_embeddings(settings.embeddings, asked) if settings.embeddings else None
    frozen = _frozen(store, asked)
    text = _text_embeddings(store, frozen is not None, card, vocabulary)
    refused: tuple[CatalogError, ...] = ()
    if content := frozen or kept:
        items = read_snapshot(content, public_url(store.path(ITEMS_FILE)), catalog.conventions)
    else:
        found = search(region, settings, catalog)
        content, items, refused = (
            make_snapshot(found.published, catalog),
            found.items,
            found.refused,
        )
    require_bands(items, card.preprocessing.bands, settings.reading.substitute)
    plan = make_plan(
        settings,
        region,
        items,
        checkpoint,
        refused=refused,
        requests=catalog.access.access().requests,
    )
    if frozen is None:
        store.write(VOCABULARY_FILE, vocabulary.model_dump_json(indent=2).encode() + b"\n")
        store.write(
            TEXT_FILE, save_tensors({"classes": text.classes, "background": text.background})
        )
        store.write(ITEMS_FILE, content)
        plan.write(store)
    parts = asked | {
        "items": _digest(content),
        "substituted": _substituted(items, settings.reading.substitute),
        "attributions": sorted({item.attribution for item in items}),
    }
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
        access=catalog.access.access(),
    )
    return PreparedRun(run, plan, plan.cells, tuple(items))


def _vocabulary(settings: MapSettings) -> Vocabulary:
    if settings.classes is not None:
        return vocabulary_from_words(settings.classes)
    assert settings.vocabulary is not None  # MapSettings holds that one of the two is given
    vocabulary = load_vocabulary(settings.vocabulary)
    if settings.level in (None, vocabulary.level):
        return vocabulary
    return make_vocabulary(
        vocabulary.model_dump() | {"level": settings.level},
        settings.vocabulary,
        'Give each class a parent in the file, or leave level = "parent" out',
    )


def _asked(
    settings: MapSettings,
    region: Region,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    catalog: CatalogDescription,
) -> dict[str, Any]:
    """The parts of the fingerprint that are known before the items are."""
    bounds = ",".join(f"{edge:.5f}" for edge in region.geometry.bounds)
    return {
        "timesen": version("timesen"),
        "checkpoint": f"{checkpoint.card.name} {checkpoint.fingerprint[:12]}",
        "vocabulary": f"{vocabulary.name} {_digest(vocabulary.model_dump_json().encode())}",
        "region": f"{bounds} {_digest(region.geometry.wkb)}",
        "year": settings.year,
        "first_month": settings.first_month,
        "cell_size": settings.cell_size,
        "catalog": settings.catalog.model_dump(mode="json")
        | {
            "url": public_url(settings.catalog.url),
            "assets": _digest(catalog.model_dump_json(include={"assets", "offset"}).encode()),
        },
        "reading": settings.reading.model_dump(mode="json"),
        **({"top_k": settings.top_k} if settings.top_k > 1 else {}),
        "steps": settings.steps,
        **({"keep_embeddings": True} if settings.keep_embeddings else {}),
        **({"embeddings": True} if settings.embeddings else {}),
    }


def _frozen(store: Store, asked: Mapping[str, Any]) -> bytes | None:
    """The frozen items of the run that the folder holds; None where it has to be planned.

    Raises OutputError where cells of another run are begun there, or where the items are not
    those that finished cells were made of.
    """
    held = held_run(store)
    if held is None:
        return None
    differing = differences({k: v for k, v in held.parts.items() if k in asked}, asked)
    if differing:
        require_replaceable(store, differing)
        return None
    content = store.read(ITEMS_FILE) if store.exists(ITEMS_FILE) else b""
    if _digest(content) == held.parts.get("items"):
        return content
    if finished_cells(store, held.fingerprint):
        raise OutputError(
            public_url(store.path(ITEMS_FILE)),
            f"the frozen items are {'changed' if content else 'gone'}, and finished cells were "
            "made of those that were here",
            "Put the run's own file back, or map into another folder",
        )
    return None


def _substituted(items: Sequence[Item], substitute: Mapping[str, str]) -> dict[str, str]:
    """Those of the user's substitutes that an item needs."""
    return {
        band: other
        for band, other in substitute.items()
        if any(band not in item.assets for item in items)
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _text_embeddings(
    store: Store, resumed: bool, card: Card, vocabulary: Vocabulary
) -> TextEmbeddings:
    """The vocabulary's text embeddings; a run embeds its words once."""
    if resumed and store.exists(TEXT_FILE):
        return TextEmbeddings(**load_tensors(store.read(TEXT_FILE)))
    return embed_for_checkpoint(vocabulary, card)
