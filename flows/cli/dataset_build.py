"""Series tables, ground tables and training sets made from the command line."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from flows.execution.console import say, show_flow, show_progress
from flows.execution.progress import RunProgress, report_progress, report_tenths
from flows.settings.dataset import PhotoSettings, Sen4MapSettings, SeriesSettings
from models.towers.text_tower import load_text_tower
from pipeline.ground_views.table import UNREADABLE, GroundCard, GroundTable
from pipeline.ground_views.table_writer import GroundFolder
from pipeline.ground_views.texts import embed_pairs, read_pairs
from pipeline.io.store import Store, public_url
from pipeline.point_series.table import SeriesCard
from pipeline.point_series.table_writer import LEFT_OUT
from pipeline.training_set.card import DatasetCard
from pipeline.training_set.pack import ROWS_LEFT_OUT, pack_training_set
from pipeline.training_set.spatial_split import SPLITS, SplitRule


def run_photos(settings: PhotoSettings, console: Console) -> None:
    """Run the flow `dataset-photos` and say what was made; raises as the flow does."""
    with show_flow(console) as wait_for_server:
        from flows.dataset_photos import dataset_photos

        wait_for_server()
        card: GroundCard = dataset_photos(settings)
    _say_ground(console, card, Store(settings.out))


def run_texts(
    table: Path,
    out: str,
    tower: str,
    revision: str | None,
    columns: tuple[str, str, str | None],
    attribution: str,
    console: Console,
) -> None:
    """Embed the texts of a table's points and say what was made.

    `columns` are those of the points' ids, the texts, and the classes. Raises UserError, and
    WorldError where storage fails.
    """
    pairs = read_pairs(table, *columns)
    with show_progress(console):
        report_progress(RunProgress("loading the text tower"))
        loaded = load_text_tower(tower, revision)
        said = hashlib.sha256(repr((pairs.ids, pairs.texts, pairs.keys)).encode()).hexdigest()
        folder = GroundFolder(
            Store(out), {"tower": loaded.name, "revision": loaded.revision, "texts": said}
        )
        folder.open()
        if not folder.is_finished():
            report_progress(RunProgress(f"embedding {len(set(pairs.texts))} texts"))
            for number, rows in enumerate(embed_pairs(pairs, loaded)):
                folder.write_part(f"{number:06d}", rows, {})
            folder.finish(
                "texts", (loaded.name, loaded.revision, loaded.dim),
                {"table": table.name, "texts": len(set(pairs.texts))},
                pairs.left_out, attribution,
            )  # fmt: skip
    _say_ground(console, GroundTable.open(out).card, folder.store)


def run_pack(
    series: Sequence[str], ground: str, out: str, rule: SplitRule, console: Console
) -> None:
    """Pack a training set and say what is in it; raises as `pack` does."""
    with show_progress(console):
        card = pack_training_set(series, ground, out, rule, progress=report_tenths("packing"))
    store = Store(out)
    rows = ", ".join(f"{card.rows(split)} {split}" for split in SPLITS)
    say(console, f"Training set  {public_url(store.path())}: {rows}")
    _say_left_out(console, card, store)
    say(console, f"Fingerprint   {card.fingerprint}")


def _say_left_out(console: Console, card: DatasetCard, store: Store) -> None:
    for reason, count in card.left_out.items():
        say(console, f"Left out      {count}: {reason}")
    if card.left_out:
        say(console, f"              named in {public_url(store.path(LEFT_OUT))}")


def _say_ground(console: Console, card: GroundCard, store: Store) -> None:
    say(
        console,
        f"Ground    {card.rows} {card.kind} of {card.points} points: {public_url(store.path())}",
    )
    for reason, count in card.left_out.items():
        say(console, f"Left out  {count}: {reason}")
    if store.exists(UNREADABLE):
        say(console, f"          named in {public_url(store.path(UNREADABLE))}")


def run_series(settings: SeriesSettings | Sen4MapSettings, console: Console) -> None:
    """Run the flow that the settings are of, and say what was made.

    Raises UserError and WorldError as the flow does.
    """
    with show_flow(console) as wait_for_server:
        from flows.dataset_sen4map import dataset_sen4map
        from flows.dataset_series import dataset_series

        wait_for_server()
        card: SeriesCard
        if isinstance(settings, SeriesSettings):
            card = dataset_series(settings)
        else:
            card = dataset_sen4map(settings)
    store = Store(settings.out)
    say(console, f"Series    {card.rows} of {card.points} points: {store.path()}")
    for reason, count in card.left_out.items():
        say(console, f"Left out  {count}: {reason}")
    if card.left_out:
        say(console, f"          named in {store.path(ROWS_LEFT_OUT)}")
