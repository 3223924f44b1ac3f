"""The commands `timesen checkpoint import` and `timesen checkpoint show`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.options import explained

if TYPE_CHECKING:  # they import torch, which takes seconds
    from models.checkpoint_import.timesenclip_checkpoint import AuthorsCheckpoint
    from models.encoder.checkpoint import Checkpoint
    from models.encoder.series_encoder import SeriesEncoder

checkpoint_app = typer.Typer(
    help="Encoders and what they say of themselves: look, import the authors'.",
    no_args_is_help=True,
)


@checkpoint_app.command(name="import")
@explained
def import_(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.ckpt", help="What the authors' training wrote.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The checkpoint to write.")],
    card: Annotated[
        Path | None,
        typer.Option(
            "--card",
            metavar="CARD.json",
            help="What is known of it, as in a checkpoint's card; may state a part only.",
        ),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            "--bands",
            metavar="B02,B03,…",
            help="The order in which it takes the bands, where the card does not state it.",
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", help="Where the encoder lies in the file, if it holds several."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the checkpoint that is there.")
    ] = False,
) -> int:
    """Make a checkpoint of a file of the TimeSenCLIP authors' training; run nothing in it."""
    from rich.console import Console

    import_checkpoint(
        model, out, Console(), card=card, bands=_band_names(bands), prefix=prefix, replace=replace
    )
    return 0


@checkpoint_app.command()
@explained
def show(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="NAME|FOLDER", help="A shipped checkpoint's name or a folder."),
    ],
) -> int:
    """Show what a checkpoint is: its card, its parameters, its fingerprint."""
    from rich.console import Console

    from models.encoder.checkpoint import load_checkpoint

    show_checkpoint(load_checkpoint(checkpoint), Console())
    return 0


def _band_names(text: str | None) -> list[str] | None:
    """The names in a list, of which the authors write B2 where Sentinel-2's products say B02."""
    if text is None:
        return None
    return [re.sub(r"^B(\d)$", r"B0\1", band.strip().upper()) for band in text.split(",")]


def import_checkpoint(
    model: Path,
    out: Path,
    console: Console,
    *,
    card: Path | None = None,
    bands: Sequence[str] | None = None,
    prefix: str | None = None,
    replace: bool = False,
) -> None:
    """Write the checkpoint of a file of the authors' training; say what it was made of.

    `card` states what it states of the card, `bands` the order of the bands where the card does
    not. Raises CheckpointError for what the user must mend, WorldError where the disk fails;
    nothing is written then.
    """
    from models.checkpoint_import.timesenclip_card import card_of, read_stated
    from models.checkpoint_import.timesenclip_checkpoint import read_authors_checkpoint
    from models.encoder.checkpoint import encoder_of_weights, save_checkpoint

    found = read_authors_checkpoint(model, prefix)
    stated = read_stated(card) if card else {}
    made, assumed = card_of(found, out.absolute().name, stated, bands)
    encoder = encoder_of_weights(made.architecture, found.tensors, str(model))
    fingerprint = save_checkpoint(out, encoder, made, replace=replace)
    _tell(console, "Encoder", _origin(found))
    if found.left_out:
        _tell(console, "Left out", _counted(found.left_out))
    for field, grounds in assumed.items():
        _tell(console, "Assumed", f"{field}: {grounds}")
    if found.log_scale is not None and "logit_scale" in stated:
        _tell(console, "Not used", f"the learned logarithm of logit_scale, {found.log_scale:.4g}")
    if found.unknown:
        _tell(
            console,
            "warning:",
            f"the authors' code is not known to write {', '.join(found.unknown)}; if the "
            "embedding went through it, the imported encoder is another one",
            style="yellow",
        )
    _tell(console, "Checkpoint", f"{out}: {_size(encoder)}, fingerprint {fingerprint}")


def show_checkpoint(checkpoint: "Checkpoint", console: Console) -> None:
    """Print what a checkpoint is: its card, its parameters, its fingerprint."""
    card = checkpoint.card
    _tell(console, card.name, card.description)
    if card.demonstration:
        _tell(console, "warning:", "for demonstration, not for real maps", style="yellow")
    sizes = vars(card.architecture)
    scl = ", ".join(map(str, card.preprocessing.scl_keep))
    trained = " and ".join(map(str, card.trained_steps))
    for name, text in {
        "folder": str(checkpoint.path),
        "fingerprint": checkpoint.fingerprint,
        "licence": card.licence,
        "encoder": f"{_size(checkpoint.encoder)}: {_listed(sizes)}",
        "text tower": f"{card.text_tower}, revision {card.text_tower_revision or 'not stated'}",
        "logit scale": f"{card.logit_scale:.6g}",
        "series": f"{card.preprocessing.months} months, trained on {trained} steps; "
        f"gaps: {card.preprocessing.gap_fill}; "
        f"scene classes kept: {scl}",
    }.items():
        _tell(console, name, text)
    for name, stated in (("training", card.training), ("metrics", card.metrics)):
        _tell(console, name, "" if stated else "not stated")
        for field, value in stated.items():
            _tell(console, "", f"{field}: {value}")
    console.print(
        _band_table(card.preprocessing.bands, card.preprocessing.low, card.preprocessing.high)
    )
    _tell(console, "input", f"(x {card.preprocessing.add:+g} − low) / high, clipped to 0 … 1")


def _band_table(names: Sequence[str], low: Sequence[float], high: Sequence[float]) -> Table:
    table = Table("band", "low", "high", box=box.SIMPLE)
    for name, *limits in zip(names, low, high, strict=True):
        table.add_row(Text(name), *(f"{limit:g}" for limit in limits))
    return table


def _origin(found: "AuthorsCheckpoint") -> str:
    from models.checkpoint_import.timesenclip_checkpoint import shown

    copies = f", the same under {', '.join(map(shown, found.copies))}" if found.copies else ""
    steps = [
        f"{key} {found.origin[key]}" for key in ("epoch", "global_step") if key in found.origin
    ]
    return f"under {shown(found.prefix)}{copies}{''.join(f', {step}' for step in steps)}"


def _counted(groups: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({n})" if n > 1 else name for name, n in groups.items())


def _listed(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{name} {value}" for name, value in values.items())


def _size(encoder: "SeriesEncoder") -> str:
    return f"{sum(tensor.numel() for tensor in encoder.state_dict().values()):,} parameters"


def _tell(console: Console, name: str, text: str, style: str | None = None) -> None:
    console.print(
        f"{name:<12} {text}".rstrip(), style=style, markup=False, highlight=False, soft_wrap=True
    )
