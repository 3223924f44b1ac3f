"""A run that kept its embeddings, as the source of another that asks for other classes."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import OutputError
from pipeline.io.fingerprint import differences
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE
from pipeline.product.ledger import read_run
from pipeline.settings.map import MapSettings, make_settings

# What embeddings do not depend on: the words, and the version of the software that asks.
_FREE = ("vocabulary", "timesen", "top_k", "keep_embeddings", "embeddings")

_OWN = (
    "out",
    "vocabulary",
    "classes",
    "level",
    "top_k",
    "keep_embeddings",
    "embeddings",
    "cluster",
)
"""Settings that a run of another's embeddings does not take over."""


def settings_from_embeddings(source: str, own: Mapping[str, Any]) -> MapSettings:
    """The settings of a run that asks the embeddings of another for other classes.

    `own` are at least `out` and `vocabulary` or `classes`; all else is as it was. Raises
    OutputError where there is no run, SettingsError.
    """
    store = Store(source)
    made = read_run(store).settings
    taken = {name: value for name, value in made.items() if name not in _OWN}
    return make_settings({**taken, **own, "embeddings": store.root}, f"classify {source}")


def items_from_embeddings(source: str, asked: Mapping[str, Any]) -> bytes:
    """The frozen items of the run whose embeddings are to be classified.

    `asked` is what the results of the run that asks depend on. Raises OutputError where there is
    no run, where it kept no embeddings, or where it would have made others: of another region,
    year or checkpoint.
    """
    store = Store(source)
    made = {"steps": 12} | dict(read_run(store).parts)  # early runs leave a number of 12 out
    given = public_url(store.root)
    if not made.get("keep_embeddings"):
        raise OutputError(
            given, "this run kept no embeddings", "Map again with keep_embeddings, then classify"
        )
    fixed = {key: value for key, value in asked.items() if key not in _FREE}
    differing = differences({key: made.get(key) for key in fixed}, fixed)
    if differing:
        raise OutputError(
            given,
            f"its embeddings are others than are asked for ({'; '.join(differing)})",
            "Set these as that run has them, or map again",
        )
    return store.read(ITEMS_FILE)
