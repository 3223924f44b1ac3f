"""A run that kept its embeddings, as the source of a run with other classes."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import OutputError
from pipeline.io.fingerprint import differences
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE
from pipeline.product.ledger import read_run
from pipeline.settings.map import MapSettings, make_settings

# Parts of a run's fingerprint on which its embeddings do not depend.
_FREE = ("vocabulary", "timesen", "top_k", "keep_embeddings", "embeddings")
# Settings that the new run does not take over.
_OWN = ("out", "vocabulary", "classes", "level", "top_k", "keep_embeddings", "embeddings",
        "cluster")  # fmt: skip


def settings_from_embeddings(source: str, own: Mapping[str, Any]) -> MapSettings:
    """The settings of a run that classifies the embeddings of the run in the folder `source`.

    `own` has at least `out` and `vocabulary` or `classes`; other settings are those of the source.
    Raises OutputError where there is no run, SettingsError.
    """
    store = Store(source)
    made = read_run(store).settings
    taken = {name: value for name, value in made.items() if name not in _OWN}
    return make_settings({**taken, **own, "embeddings": store.root}, f"classify {source}")


def items_from_embeddings(source: str, parts: Mapping[str, Any]) -> bytes:
    """The snapshot of items of the run whose embeddings are to be classified.

    `parts` are those of the new run's fingerprint. Raises OutputError where there is no run, where
    it kept no embeddings, or where these are of another region, year or checkpoint.
    """
    store = Store(source)
    made = {"steps": 12} | dict(read_run(store).parts)  # early runs did not write 12
    folder = public_url(store.root)
    if not made.get("keep_embeddings"):
        raise OutputError(
            folder, "this run kept no embeddings", "Map again with keep_embeddings, then classify"
        )
    fixed = {key: value for key, value in parts.items() if key not in _FREE}
    differing = differences({key: made.get(key) for key in fixed}, fixed)
    if differing:
        raise OutputError(
            folder,
            f"its embeddings are not those of the new run ({'; '.join(differing)})",
            "Set these as that run has them, or map again",
        )
    return store.read(ITEMS_FILE)
