"""A run, as its workers need it, and a prepared run: its cells, and the items that each reads."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from models.encoder.card import Card
from models.encoder.training_sample import TrainingSample
from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary
from pipeline.catalog.description import CatalogDescription
from pipeline.catalog.item import Item
from pipeline.catalog.item_snapshot import ItemSnapshot
from pipeline.classification.classify import Classifier, make_classifier
from pipeline.classification.examples import ExampleFit
from pipeline.classification.other_land import OtherLand, OtherLandFinder
from pipeline.grid.cells import Cell
from pipeline.grid.region import Region
from pipeline.io.store import Store
from pipeline.mapping.example_points import ExamplePoints
from pipeline.mapping.land_mask import LandMask
from pipeline.mapping.plan import Plan
from pipeline.mapping.shard import cells_of_shard
from pipeline.observations.reading import Reading, reading_of
from pipeline.product.cell_report import PREFIX
from pipeline.product.committed_cells import index_cells
from pipeline.product.manifest import RunManifest
from pipeline.raster.access import Access
from pipeline.settings.map import MapSettings


@dataclass(frozen=True)
class Run:
    """Everything about a run that its workers need; small and picklable.

    Attributes:
        settings: The user's settings.
        store: The run's folder.
        plan_hash: The hash of what is known before the search for items; it holds the folder.
        region: The region to map.
        manifest: The manifest in the folder.
        checkpoint: The name or path that `load_checkpoint` takes.
        checkpoint_fingerprint: The fingerprint that it must have when a worker loads it.
        card: Its card.
        vocabulary: The classes.
        text: The text embeddings of the vocabulary.
        other_land: What these leave out; None where that is nothing.
        training_sample: What the checkpoint was trained on, if `unlike_training` is mapped.
        access: How the catalogue's rasters are opened.
        examples: What was fitted to the user's labelled examples, if there are any, before any cell
            is mapped.
        source: The fingerprint of the run whose embeddings are classified, if it is one's.
        mask: Where the run maps, if not everywhere.
    """

    settings: MapSettings
    store: Store
    plan_hash: str
    region: Region
    manifest: RunManifest
    checkpoint: str
    checkpoint_fingerprint: str
    card: Card
    vocabulary: Vocabulary
    text: TextEmbeddings
    other_land: OtherLand | None
    training_sample: TrainingSample | None
    access: Access
    examples: ExampleFit | None = None
    source: str | None = None
    mask: LandMask | None = None

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

    def other_land_finder(self, classifier: Classifier) -> OtherLandFinder | None:
        """What finds pixels of other land than the classifier's words, on its device.

        None where the words leave nothing out, or examples say more than they do.
        """
        if self.other_land is None or classifier.examples is not None:
            return None
        return OtherLandFinder(self.other_land, classifier.text, classifier.bias.device)

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

    `catalog` is the described one; `points` are the user's labelled examples, if there are any;
    `again` are the ids of finished cells that are to be mapped once more.
    """

    run: Run
    plan: Plan
    cells: tuple[Cell, ...]
    items: ItemSnapshot
    catalog: CatalogDescription
    points: ExamplePoints | None = None
    again: frozenset[str] = frozenset()

    def items_of(self, cell: Cell) -> tuple[Item, ...]:
        """The items of a cell's tile, by time."""
        return self.items.of_tile(cell.tile.name)

    @cached_property
    def own_cells(self) -> tuple[Cell, ...]:
        """The cells that this start maps: those of its shard, or all."""
        if self.run.settings.shard is None:
            return self.cells
        number, of = map(int, self.run.settings.shard.split("/"))
        return cells_of_shard(self.cells, number, of)

    def unfinished(self) -> tuple[Cell, ...]:
        """Its own cells that are not finished, or that are to be mapped once more."""
        store, manifest = self.run.store, self.run.manifest
        done = {
            one["id"]
            for one in index_cells(store, manifest)
            if one["properties"][f"{PREFIX}fingerprint"] == manifest.fingerprint
        } - self.again
        return tuple(cell for cell in self.own_cells if cell.id not in done)
