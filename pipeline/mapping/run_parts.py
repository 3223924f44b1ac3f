"""The parts of a run's fingerprint: those known before the search, and those of its items."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from models.encoder.card import Card
from models.encoder.checkpoint import Checkpoint
from models.vocabulary.vocabulary import Vocabulary
from pipeline.catalog.description import CatalogDescription
from pipeline.catalog.item_snapshot import ItemSnapshot
from pipeline.catalog.normalise import require_offered
from pipeline.grid.region import Region
from pipeline.io.store import public_url
from pipeline.mapping.embedding_source import EMBEDDED_BY
from pipeline.mapping.plan import Plan
from pipeline.product.manifest import RunManifest
from pipeline.settings.map import MapSettings

# A run's fingerprint holds every setting but these, so that none is forgotten: those whose content
# it holds instead of their name, and those on which no result depends.
_KNOWN_BY_CONTENT = frozenset(
    {
        *("region", "vocabulary", "classes", "background", "threshold", "level"),
        *("examples", "label", "mask"),
        *("checkpoint", "catalog", "embeddings"),
    }
)
_NEWER = frozenset({"unlike_training"})  # off by default, and the first runs did not know of it
_WITHOUT_EFFECT = frozenset(  # on cells; the whole map is written anew at the end of each start
    {
        *("out", "cluster", "network", "costs", "batch_size", "allow_untrained_steps"),
        *("crs", "lease_seconds", "shard"),
    }
)
_OF_ITEMS = ("items", "substituted", "attributions")  # parts that are known after the search
_ABSENT_BANDS = "absent bands"  # which most runs have not


def known_parts(
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


def found_parts(
    items: ItemSnapshot, plan: Plan, card: Card, substitute: Mapping[str, str]
) -> dict[str, Any]:
    """The parts of the fingerprint that the items decide.

    Raises CatalogError where they offer a band not at all.
    """
    facts, inputs = items.facts, card.preprocessing
    require_offered(facts.offering, inputs.bands, substitute, inputs.optional_bands)
    parts: dict[str, Any] = {
        "items": _digest(items.content),
        "substituted": {
            band: by for band, by in substitute.items() if facts.offering[band] < facts.count
        },
        "attributions": sorted(facts.attributions),
    }
    if plan.absent_bands:
        parts[_ABSENT_BANDS] = list(plan.absent_bands)
    return parts


def held_parts(held: RunManifest) -> dict[str, Any] | None:
    """Those parts as a run's manifest has them; None where it lacks some."""
    if not all(name in held.parts for name in _OF_ITEMS):
        return None
    return {name: held.parts[name] for name in (*_OF_ITEMS, _ABSENT_BANDS) if name in held.parts}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
