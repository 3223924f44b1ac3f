"""A training set, shown: its parts, labels, statistics, and where it comes from."""

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from flows.execution.console import say
from pipeline.training_set.card import DatasetCard
from pipeline.training_set.spatial_split import SPLITS

_NONE = "(none)"


def show_dataset(card: DatasetCard, address: str, console: Console) -> None:
    """Print what a training set's card says."""
    ground, rule = card.ground, card.split_rule
    for name, text in (
        ("Training set", address),
        ("Ground", f"{ground.kind}, up to {ground.views} per point, {ground.dim} numbers each"),
        ("Tower", f"{ground.tower} ({ground.revision})"),
        (
            "Split",
            f"by blocks of {rule.block_km:g} km, {rule.buffer_km:g} km apart, seed {rule.seed}",
        ),
        *(("Left out", f"{count}: {reason}") for reason, count in card.left_out.items()),
        *(("Attribution", text) for text in card.attribution if text),
        ("Fingerprint", card.fingerprint),
        ("Made", f"{card.created}, timesen {card.versions['timesen']}"),
    ):
        say(console, f"{name:<14}{text}")
    console.print(_parts(card))
    for label, classes in card.labels.items():
        console.print(_classes(card, label, classes))
    console.print(_bands(card))
    console.print(
        f"Months without a clear observation, training: {card.statistics.missing:.1%}",
        highlight=False,
    )


def _parts(card: DatasetCard) -> Table:
    table = Table("part", _right("rows"), _right("share"), _right("shards"), box=box.SIMPLE)
    total = sum(map(card.rows, SPLITS))
    for split in SPLITS:
        rows = card.rows(split)
        table.add_row(split, str(rows), f"{rows / total:.1%}", str(len(card.shards(split))))
    return table


def _classes(card: DatasetCard, label: str, classes: tuple[str, ...]) -> Table:
    table = Table(Column(Text(label)), *(_right(split) for split in SPLITS), box=box.SIMPLE)
    counts = card.counts[label]
    without = {"": _NONE} if any(counts[split].get("") for split in SPLITS) else {}
    for name, shown in {**{name: name for name in classes}, **without}.items():
        table.add_row(Text(shown), *(str(counts[split].get(name, 0)) for split in SPLITS))
    return table


def _bands(card: DatasetCard) -> Table:
    statistics = card.statistics
    names = [f"{percent} %" for percent in statistics.quantiles]
    absent = ["absent"] if any(statistics.absent) else []
    table = Table("band", *map(_right, [*names, "mean", "std", *absent]), box=box.SIMPLE)
    for number, band in enumerate(card.bands):
        quantiles = [values[number] for values in statistics.quantiles.values()]
        values = [*quantiles, statistics.mean[number], statistics.std[number]]
        shares = [f"{statistics.absent[number]:.1%}"] if absent else []
        table.add_row(band, *(f"{value:.0f}" for value in values), *shares)
    return table


def _right(name: str) -> Column:
    return Column(name, justify="right")
