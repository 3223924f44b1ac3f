"""The names of what comes with timesen, as a shell completes them."""

from collections.abc import Callable, Mapping
from typing import Any


def _checkpoints(_: Any) -> tuple[str, ...]:
    from models.encoder.checkpoint_folder import shipped_checkpoints

    return shipped_checkpoints()


def _vocabularies(_: Any) -> tuple[str, ...]:
    from models.vocabulary.vocabulary import shipped_vocabularies

    return shipped_vocabularies()


def _catalogs(_: Any) -> tuple[str, ...]:
    from pipeline.catalog.description import shipped_catalogs

    return shipped_catalogs()


def _prices(_: Any) -> tuple[str, ...]:
    from pipeline.costs.prices import shipped_prices

    return shipped_prices()


COMPLETERS: Mapping[str, Callable[[Any], tuple[str, ...]]] = {
    "checkpoint": _checkpoints,
    "vocabulary": _vocabularies,
    "catalog": _catalogs,
    "prices": _prices,
}
"""For a parameter's `completer`, by the kind of what it names (`models.option.Names`)."""
