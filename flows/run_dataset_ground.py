"""Ground tables and training sets made from the command line, and shown on a console."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from flows.ground_settings import PhotoSettings
from flows.on_console import on_console, say
from flows.progress import RunProgress, in_tenths, shown_on, tell
from models.text import load_text_tower
from pipeline.dataset_card import DatasetCard
from pipeline.ground_folder import GroundFolder
from pipeline.ground_table import UNREADABLE, GroundCard, GroundTable
from pipeline.pack import LEFT_OUT, pack
from pipeline.spatial_split import SPLITS, SplitRule
from pipeline.storage import Store, public_url
from pipeline.text_pairs import embed_pairs, read_pairs


def run_photos(settings: PhotoSettings, console: Console) -> None:
    """Run the flow `dataset-photos` and say what was made; raises as the flow does."""
    with on_console(console) as wait_for_server:
        from flows.dataset_ground import dataset_photos

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
    with shown_on(console):
        tell(RunProgress("loading the text tower"))
        loaded = load_text_tower(tower, revision)
        said = hashlib.sha256(repr((pairs.ids, pairs.texts, pairs.keys)).encode()).hexdigest()
        folder = GroundFolder(
            Store(out), {"tower": loaded.name, "revision": loaded.revision, "texts": said}
        )
        folder.open()
        if not folder.is_finished():
            tell(RunProgress(f"embedding {len(set(pairs.texts))} texts"))
            for number, rows in enumerate(embed_pairs(pairs, loaded)):
                folder.write(f"{number:06d}", rows, {})
            folder.finish(
                "texts", (loaded.name, loaded.revision, loaded.dim),
                {"table": table.name, "texts": len(set(pairs.texts))},
                pairs.left_out, attribution,
            )  # fmt: skip
    _say_ground(console, GroundTable.open(out).card, folder.store)


def run_pack(
    series: Sequence[str], ground: str, out: str, rule: SplitRule, console: Console
) -> None:
    """Pack a training set and say what is in it; raises as `pipeline.pack.pack` does."""
    with shown_on(console):
        card = pack(series, ground, out, rule, told=in_tenths("packing"))
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
