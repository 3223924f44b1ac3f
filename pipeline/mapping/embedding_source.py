"""A run that kept its embeddings, as the source of a run with other classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import OutputError
from pipeline.io.fingerprint import differences
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE
from pipeline.product.ledger import read_run
from pipeline.product.manifest import read_planned
from pipeline.settings.map import MapSettings, make_settings

EMBEDDED_BY = "embedded by"
"""The part of a run's fingerprint that says which checkpoint, without its calibrations, embeds; it
is left out where that is the `checkpoint`."""

# Parts of a run's fingerprint on which its embeddings do not depend.
_FREE = (
    *("vocabulary", "logit_scale", "examples", "mask"),
    *("timesen", "top_k", "unlike_training", "keep_embeddings", "embeddings"),
)
# Settings that the new run does not take over.
_OWN = (
    "out",
    "vocabulary",
    "classes",
    "level",
    "background",
    "threshold",
    "examples",
    "label",
    "mask",
    "top_k",
    "unlike_training",
    "keep_embeddings",
    "embeddings",
    "cluster",
)


def settings_from_embeddings(source: str, own: Mapping[str, Any]) -> MapSettings:
    """The settings of a run that classifies the embeddings of the run in the folder `source`.

    Args:
        source: The folder.
        own: The new run's own settings, at least `out` and `vocabulary` or `classes`; other
            settings are those of the source.

    Raises:
        OutputError: The folder holds no run.
        SettingsError: The settings are not valid.
    """
    store = Store(source)
    run = read_run(store)
    if run.derived_kind is not None:
        raise OutputError(
            public_url(store.root),
            "this run was made of others, and keeps no embeddings",
            "Classify the run that was mapped",
        )
    earlier = run.settings
    shared = {name: value for name, value in earlier.items() if name not in _OWN}
    return make_settings({**shared, **own, "embeddings": store.root}, f"classify {source}")


@dataclass(frozen=True)
class EmbeddingSource:
    """The run whose embeddings are classified: its fingerprint, and its snapshot of items."""

    fingerprint: str
    items: bytes


def source_of_embeddings(source: str, parts: Mapping[str, Any]) -> EmbeddingSource:
    """The run whose embeddings are to be classified.

    Args:
        source: That run's folder.
        parts: The parts of the new run's fingerprint.

    Raises:
        OutputError: There is no run, it kept no embeddings, these are of another region, year or
            checkpoint, or its snapshot of items is not its own.
    """
    store = Store(source)
    run = read_run(store)
    earlier = {"steps": 12} | dict(run.parts)  # early runs did not write 12
    folder = public_url(store.root)
    if not earlier.get("keep_embeddings"):
        raise OutputError(
            folder, "this run kept no embeddings", "Map again with keep_embeddings, then classify"
        )
    fixed = _by_embeddings(parts)
    held = _by_embeddings(earlier)
    differing = differences({key: held.get(key) for key in fixed}, fixed)
    if differing:
        raise OutputError(
            folder,
            f"its embeddings are not those of the new run ({'; '.join(differing)})",
            "Set these as that run has them, or map again",
        )
    return EmbeddingSource(run.fingerprint, read_planned(store, run, ITEMS_FILE))


def _by_embeddings(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts on which embeddings depend."""
    fixed = {key: value for key, value in parts.items() if key not in _FREE}
    fixed["checkpoint"] = fixed.pop(EMBEDDED_BY, fixed.get("checkpoint"))
    return fixed
