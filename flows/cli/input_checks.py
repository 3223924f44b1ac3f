"""What the settings of a command name must be there.

A mistake is told before torch, Dask and Prefect are imported, which takes from four to twenty
seconds. The checks are those that the command makes itself, as far as they are quick: what is in
object storage or on the web is left to the command.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel

from models.errors import UserError
from models.option import Names
from pipeline.io.store import Store
from pipeline.io.user_paths import existing, existing_file, file_and_layer, foreign_address
from pipeline.settings.load import note_of

_QUICK_BYTES = 2_000_000  # of a vector file that is read within a fraction of a second


def require_inputs(settings: BaseModel) -> None:
    """Raise UserError for a region, checkpoint, vocabulary, … that is not there, or is none."""
    for kind, text in _named(settings):
        _CHECKS[kind](text, settings)


def require_cluster(settings: BaseModel) -> None:
    """Raise ClusterError where this machine lacks what the kind of cluster needs."""
    from pipeline.clusters.settings import CLUSTER_KINDS, ClusterSettings

    cluster = getattr(settings, "cluster", None)
    if isinstance(cluster, ClusterSettings):
        CLUSTER_KINDS[cluster.kind].require()


def require_named(kind: str, text: str) -> None:
    """Raise UserError where what a command's own option names is not there; kinds as of `Names`."""
    _CHECKS[kind](text, None)


def require_run(run: str) -> None:
    """Raise OutputError where a folder of this machine holds no run."""
    if "://" not in run:
        from pipeline.product.ledger import read_run

        read_run(Store(run))


def _named(settings: BaseModel) -> Iterator[tuple[str, str]]:
    """The kinds and the texts of the settings that name something, sections included."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from _named(value)
        elif value is not None and (note := note_of(field, Names)):
            texts = [value] if isinstance(value, str) else value
            yield from ((note.kind, text) for text in texts)


def _region(text: str, _: Any) -> None:
    from pipeline.grid.region import read_region

    path = existing_file(text.strip())
    if path is None or file_and_layer(path)[0].stat().st_size <= _QUICK_BYTES:
        read_region(text)


def _checkpoint(text: str, _: Any) -> None:
    from models.encoder.checkpoint_folder import require_checkpoint_files

    require_checkpoint_files(text)


def _new_checkpoint(text: str, settings: Any) -> None:
    from models.encoder.checkpoint_folder import require_writable

    require_writable(text, settings.replace)


def _vocabulary(text: str, _: Any) -> None:
    from models.vocabulary.vocabulary import load_vocabulary

    load_vocabulary(text)


def _classes(text: str, _: Any) -> None:
    from models.vocabulary.vocabulary import vocabulary_from_words

    vocabulary_from_words(text)


def _catalog(text: str, settings: Any) -> None:
    from pipeline.catalog.description import catalog_file, describe_catalog, is_table
    from pipeline.io.redaction import expanded

    url = describe_catalog(text).url
    if is_table(url):
        return
    try:
        if "://" not in (address := expanded(url)):
            catalog_file(address)
    except UserError:
        # A run that goes on has its items, and needs the catalogue no more.
        if not _has_run(getattr(settings, "out", "")):
            raise


def _prices(text: str, _: Any) -> None:
    from pipeline.costs.prices import load_prices

    load_prices(text)


def _has_run(out: str) -> bool:
    with suppress(UserError):
        require_run(out)
        return bool(out)
    return False


def _mask(text: str, _: Any) -> None:
    from pipeline.mapping.land_mask import require_classes, split_mask

    if "://" not in split_mask(text)[0]:
        require_classes(text)


def _run_to_go_on_with(text: str, _: Any) -> None:
    if "://" not in text:
        from pipeline.product.ledger import held_run

        held_run(Store(text))


def _file(text: str, _: Any) -> None:
    if existing_file(text) is None:
        problem = foreign_address(text) or "there is no such file"
        raise UserError(text, problem, "Check the path, which starts at the current folder")


def _folder(text: str, _: Any) -> None:
    if "://" not in text and existing(text) is None:
        raise UserError(text, "there is no such folder", "Check the path")


def _series(text: str, _: Any) -> None:
    if "://" not in text:
        from pipeline.point_series.table import SeriesTable

        SeriesTable.open(text)


def _ground(text: str, _: Any) -> None:
    if "://" not in text:
        from pipeline.ground_views.table import GroundTable

        GroundTable.open(text)


def _set(text: str, _: Any) -> None:
    if "://" not in text:
        from pipeline.training_set.loader import TrainingSet

        TrainingSet.open(text)


def _set_or_series(text: str, settings: Any) -> None:
    _folder(text, settings)


_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "region": _region,
    "checkpoint": _checkpoint,
    "new checkpoint": _new_checkpoint,
    "vocabulary": _vocabulary,
    "classes": _classes,
    "catalog": _catalog,
    "prices": _prices,
    "run": lambda text, _: require_run(text),
    "mask": _mask,
    "run to go on with": _run_to_go_on_with,
    "file": _file,
    "folder": _folder,
    "series": _series,
    "ground": _ground,
    "set": _set,
    "set or series": _set_or_series,
}
