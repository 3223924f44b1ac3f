"""The preparation of a run: settings → region, checkpoint, text embeddings, items, plan, folder."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.numpy import save as save_tensors

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.encoder.checkpoint_folder import CHECKPOINT_SAMPLE
from models.encoder.training_sample import TrainingSample
from models.errors import CheckpointError
from models.towers.text_embeddings import embed_for_checkpoint
from models.vocabulary.vocabulary import (
    Vocabulary,
    load_vocabulary,
    make_vocabulary,
    vocabulary_from_words,
)
from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item_snapshot import ItemSnapshot
from pipeline.catalog.origin import access_of
from pipeline.catalog.search import search
from pipeline.classification.other_land import other_land
from pipeline.classification.word_colours import with_colours_of_meaning
from pipeline.errors import CatalogError
from pipeline.grid.region import Region, read_region
from pipeline.io.fingerprint import fingerprint
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE, OTHER_LAND_FILE, RUN, TEXT_FILE, VOCABULARY_FILE
from pipeline.mapping.continued_run import same_items_elsewhere, with_outputs_of
from pipeline.mapping.embedding_source import source_of_embeddings
from pipeline.mapping.example_points import ExamplePoints, read_example_points
from pipeline.mapping.held_plan import held_plan, planned_tiles
from pipeline.mapping.land_mask import read_land_mask
from pipeline.mapping.make_plan import make_plan, with_cost
from pipeline.mapping.run import PreparedRun, Run
from pipeline.mapping.run_parts import found_parts, held_parts, known_parts
from pipeline.product.ledger import begun_run, open_run, require_held
from pipeline.product.map_crs import named_crs, require_shown
from pipeline.product.ownership import claimed
from pipeline.raster.gdal_env import require_proj_data
from pipeline.settings.map import MapSettings


def prepare_run(settings: MapSettings) -> PreparedRun:
    """Check everything that can be checked before hours of computing, and open the run's folder.

    If the folder holds this run already, the run continues with its own snapshot of items; so it
    does if rasters or embeddings are added to it. If it holds another run of which a cell is begun,
    or which another process maps, it is refused. Raises a UserError for whatever the user must
    mend, WorldError where catalogue or storage fail.
    """
    with ExitStack() as planning:
        return _prepared(settings, planning)[0]


@contextmanager
def prepared_run(settings: MapSettings) -> Iterator[PreparedRun]:
    """Prepare a run as `prepare_run`, and hold its folder for the length of the block.

    Processes with the same settings may hold it together: what they map is the same.
    """
    with ExitStack() as holding:
        prepared, claims_it = _prepared(settings, holding)
        run = prepared.run
        if not claims_it:
            require_held(run.store, run.manifest)
            holding.enter_context(claimed(run.store, run.plan_hash, shared=True))
        require_held(run.store, run.manifest)  # another may have held it until the claim
        run.store.remove_abandoned_parts()
        yield prepared


def _prepared(settings: MapSettings, claims: ExitStack) -> tuple[PreparedRun, bool]:
    """Prepare a run; where it must be planned, the folder is held until `claims` is closed.

    Returns:
        The run, and whether the folder is held.
    """
    require_proj_data()
    store = Store(settings.out)
    begun = begun_run(store)
    if begun is not None:
        settings = with_outputs_of(begun, settings)
    region = read_region(settings.region)
    if settings.crs is not None:
        require_shown(named_crs(settings.crs), region.bbox)
    checkpoint = load_checkpoint(settings.checkpoint)
    card = checkpoint.card
    if not settings.allow_untrained_steps:
        card.require_trained_steps(settings.steps)
    training_sample = _training_sample(settings, checkpoint)
    vocabulary = _vocabulary(settings)
    points = _example_points(settings, region, vocabulary)
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    known = known_parts(settings, region, checkpoint, vocabulary, catalog)
    if points is not None:  # a run without examples has no such part, as before there were any
        known["examples"] = points.fingerprint
    mask = None if settings.mask is None else read_land_mask(settings.mask)
    if mask is not None:
        known["mask"] = mask.identity
    if begun and same_items_elsewhere(begun, store, known, region, settings, catalog):
        known["catalog"] = begun.parts["catalog"]
    source = source_of_embeddings(settings.embeddings, known) if settings.embeddings else None
    held, claims_it = held_plan(store, known), False
    while held is None and not claims_it:  # one process searches, and others of its plan wait
        planned = partial(_is_planned, store, known)
        claims_it = claims.enter_context(claimed(store, fingerprint(known), enough=planned))
        held = held_plan(store, known)
    text = embed_for_checkpoint(vocabulary, card) if held is None else held.text
    if settings.classes is not None:  # a run is known by its words, and keeps its own colours
        if held is None:
            vocabulary = with_colours_of_meaning(vocabulary, text, card)
        elif _but_for_colours(held.vocabulary) == _but_for_colours(vocabulary):
            vocabulary = held.vocabulary
    other = other_land(text, card) if held is None else held.other_land
    access = access_of(catalog, settings.network)
    refused: Sequence[CatalogError] = ()
    shortfalls: Sequence[str] = ()
    if there := held or source:
        name = public_url(store.path(ITEMS_FILE))
        items = ItemSnapshot(there.items, name, catalog.conventions)
    else:
        results = search(region, settings, catalog)
        items, refused, shortfalls = results.items, results.refused, results.shortfalls
    tiles = None if held is None else planned_tiles(store, held.manifest)
    found = None if held is None else held_parts(held.manifest)
    if tiles is not None and found is not None:
        plan = with_cost(tiles, settings, checkpoint, requests=access.requests)
    else:
        plan = make_plan(
            settings,
            region,
            items,
            checkpoint,
            refused=refused,
            shortfalls=shortfalls,
            requests=access.requests,
        )
        found = found_parts(items, plan, card, settings.reading.substitute)
    if mask is not None:
        mask.require_some(plan.cells)
    parts = known | found
    if held is not None and held.manifest.fingerprint == fingerprint(parts):
        manifest = held.manifest
    else:
        if not claims_it:
            claims_it = claims.enter_context(claimed(store, fingerprint(known)))
        # Also where this process stood still, and lost its claim:
        now_held = held_plan(store, known)
        if now_held is not None and (held is None or now_held.manifest != held.manifest):
            claims.close()  # another process was faster: its snapshot of items is the run's
            return _prepared(settings, claims)
        files = {
            VOCABULARY_FILE: vocabulary.model_dump_json(indent=2).encode() + b"\n",
            TEXT_FILE: save_tensors(text.tensors()),
            **({} if other is None else {OTHER_LAND_FILE: save_tensors(other.tensors())}),
            ITEMS_FILE: items.content,
            **plan.files(),
        }
        # One start's shard is none of the run's settings.
        manifest = open_run(
            store, parts, settings.model_dump(mode="json", exclude={"shard"}), files
        )
    run = Run(
        settings=settings,
        store=store.once_opened(),
        plan_hash=fingerprint(known),
        region=region,
        manifest=manifest,
        checkpoint=str(checkpoint.path),
        checkpoint_fingerprint=checkpoint.fingerprint,
        card=card,
        vocabulary=vocabulary,
        text=text,
        other_land=other,
        training_sample=training_sample,
        access=access,
        source=None if source is None else source.fingerprint,
        mask=mask,
    )
    return PreparedRun(run, plan, plan.cells, items, catalog, points), claims_it


def _is_planned(store: Store, known: Mapping[str, Any]) -> bool:
    """Whether another process has planned a run with these parts meanwhile."""
    return store.exists(RUN) and held_plan(store, known) is not None


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
    """The vocabulary of the settings, with their background, threshold and level."""
    if settings.classes is not None:
        vocabulary = vocabulary_from_words(settings.classes)
        source = f"classes {settings.classes!r}"
    else:
        assert settings.vocabulary is not None  # MapSettings requires one of the two
        vocabulary, source = load_vocabulary(settings.vocabulary), settings.vocabulary
    changes: dict[str, Any] = {}
    if settings.background is not None:
        words = dict.fromkeys((*vocabulary.background, *_split(settings.background)))
        changes["background"] = tuple(words)
    if settings.threshold is not None:
        changes["threshold"] = settings.threshold
    if settings.level not in (None, vocabulary.level):
        changes["level"] = settings.level
    if not changes:
        return vocabulary
    remedy = (
        'Give each class a parent in the file, or leave level = "parent" out'
        if "level" in changes
        else "Name in background only what is none of the classes"
    )
    return make_vocabulary(vocabulary.model_dump() | changes, source, remedy)


def _but_for_colours(vocabulary: Vocabulary) -> dict[str, Any]:
    return vocabulary.model_dump(exclude={"classes": {"__all__": {"colour"}}})


def _split(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _example_points(
    settings: MapSettings, region: Region, vocabulary: Vocabulary
) -> ExamplePoints | None:
    if settings.examples is None or settings.label is None:
        return None
    return read_example_points(Path(settings.examples), settings.label, vocabulary, region)
