"""The commands `timesen checkpoint import | show | calibrate`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.app import argument, command_app
from flows.cli.checkpoint_calibrate import calibrate_app
from flows.cli.input_checks import require_named
from flows.execution.console import PlainConsole

if TYPE_CHECKING:  # they import torch, which takes seconds
    from models.checkpoint_import.timesenclip_checkpoint import AuthorsCheckpoint
    from models.encoder.series_encoder import SeriesEncoder

checkpoint_app = command_app("checkpoint", "Show, import or calibrate checkpoints.")
_show_app = command_app(
    "checkpoint show",
    examples=("timesen checkpoint show real-land", "timesen checkpoint show my-checkpoint"),
)
_import_app = command_app(
    "checkpoint import",
    examples=(
        "timesen checkpoint import MODEL.ckpt --out FOLDER --card CARD.json",
        "timesen checkpoint import MODEL.ckpt --out FOLDER --bands B02,B03,B04,B05,B06,…",
    ),
)
checkpoint_app.command(_show_app)
checkpoint_app.command(_import_app)
checkpoint_app.command(calibrate_app)


@_import_app.default
def import_checkpoint(
    model: Annotated[Path, argument("MODEL.ckpt", "The file that the authors' training wrote.")],
    /,
    *,
    out: Annotated[Path, Parameter(metavar="FOLDER", help="The checkpoint to write.")],
    card: Annotated[
        Path | None,
        Parameter(metavar="CARD.json", help="A checkpoint's card, or the known parts of one."),
    ] = None,
    bands: Annotated[
        str | None,
        Parameter(metavar="B02,B03,…", help="The order of its bands, if no card states it."),
    ] = None,
    prefix: Annotated[
        str | None,
        Parameter(metavar="NAME", help="The encoder's place in the file, if it has several."),
    ] = None,
    replace: Annotated[
        bool, Parameter(negative=(), help="Replace the checkpoint that is there.")
    ] = False,
) -> int:
    """Make a checkpoint of a file of the TimeSenCLIP authors' training, without running its code.

    Nothing is written where something is wrong.
    """
    from models.checkpoint_import.timesenclip_card import imported_card, read_partial_card
    from models.checkpoint_import.timesenclip_checkpoint import read_authors_checkpoint
    from models.encoder.checkpoint import save_checkpoint
    from models.encoder.encoder_weights import encoder_of_weights

    console = PlainConsole()
    found = read_authors_checkpoint(model, prefix)
    stated = read_partial_card(card) if card else {}
    made, assumed = imported_card(found, out.absolute().name, stated, _band_names(bands))
    encoder = encoder_of_weights(made.architecture, found.tensors, str(model))
    fingerprint = save_checkpoint(out, encoder, made, replace=replace)
    _say_field(console, "Encoder", _origin(found))
    if found.left_out:
        _say_field(console, "Left out", _counted(found.left_out))
    for field, grounds in assumed.items():
        _say_field(console, "Assumed", f"{field}: {grounds}")
    if found.log_scale is not None and "logit_scale" in stated:
        _say_field(
            console, "Not used", f"the learned logarithm of logit_scale, {found.log_scale:.4g}"
        )
    if found.unknown:
        _say_field(
            console,
            "warning:",
            f"the authors' code is not known to write {', '.join(found.unknown)}; if the "
            "embedding went through it, the imported encoder is another one",
            style="yellow",
        )
    _say_field(console, "Checkpoint", f"{out}: {_size(encoder)}, fingerprint {fingerprint}")
    return 0


@_show_app.default
def show_checkpoint(
    name: Annotated[
        str, argument("NAME|FOLDER", "A shipped checkpoint's name, or a folder.", "checkpoint")
    ],
    /,
) -> int:
    """Show a checkpoint: its card, its parameters, its fingerprint."""
    require_named("checkpoint", name)
    # Imported here: torch takes seconds, which a wrong name need not wait for.
    from models.encoder.checkpoint import load_checkpoint

    checkpoint, console = load_checkpoint(name), PlainConsole()
    card = checkpoint.card
    _say_field(console, card.name, card.description)
    if card.demonstration:
        _say_field(console, "warning:", "for demonstration, not for real maps", style="yellow")
    sizes = vars(card.architecture)
    scl = ", ".join(map(str, card.preprocessing.scl_keep))
    trained = " and ".join(map(str, card.trained_steps))
    for title, text in {
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
        _say_field(console, title, text)
    for fitted in card.calibrations:
        _say_field(
            console,
            "calibrated",
            f"{fitted.vocabulary}, T = {fitted.steps}: logit scale {fitted.logit_scale:.6g}, "
            f"ECE {fitted.ece_before:.3f} → {fitted.ece_after:.3f} "
            f"({fitted.points:,} points, {fitted.data})",
        )
    sample = checkpoint.training_sample
    _say_field(
        console,
        "trained on",
        "not stated: no map can show what is unlike it"
        if sample is None
        else f"a sample of {len(sample.stored):,} embeddings, T = {sample.steps}; 95 % of held-out "
        f"points lie within a cosine distance of {sample.limit:.3f}",
    )
    for title, stated in (("training", card.training), ("metrics", card.metrics)):
        _say_field(console, title, "" if stated else "not stated")
        for field, value in stated.items():
            _say_field(console, "", f"{field}: {value}")
    if optional := card.preprocessing.optional_bands:
        _say_field(console, "does without", ", ".join(optional))
    console.print(
        _band_table(card.preprocessing.bands, card.preprocessing.low, card.preprocessing.high)
    )
    _say_field(console, "input", f"(x {card.preprocessing.add:+g} − low) / high, clipped to 0 … 1")
    return 0


def _band_names(text: str | None) -> list[str] | None:
    """The names in a list, of which the authors write B2 where Sentinel-2's products say B02."""
    if text is None:
        return None
    return [re.sub(r"^B(\d)$", r"B0\1", band.strip().upper()) for band in text.split(",")]


def _band_table(names: Sequence[str], low: Sequence[float], high: Sequence[float]) -> Table:
    table = Table("band", "low", "high", box=box.SIMPLE)
    for name, *limits in zip(names, low, high, strict=True):
        table.add_row(Text(name), *(f"{limit:g}" for limit in limits))
    return table


def _origin(found: "AuthorsCheckpoint") -> str:
    from models.checkpoint_import.timesenclip_checkpoint import prefix_text

    copies = f", the same under {', '.join(map(prefix_text, found.copies))}" if found.copies else ""
    steps = [
        f"{key} {found.origin[key]}" for key in ("epoch", "global_step") if key in found.origin
    ]
    return f"under {prefix_text(found.prefix)}{copies}{''.join(f', {step}' for step in steps)}"


def _counted(groups: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({n})" if n > 1 else name for name, n in groups.items())


def _listed(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{name} {value}" for name, value in values.items())


def _size(encoder: "SeriesEncoder") -> str:
    return f"{sum(tensor.numel() for tensor in encoder.state_dict().values()):,} parameters"


def _say_field(console: Console, name: str, text: str, style: str | None = None) -> None:
    console.print(
        f"{name:<12} {text}".rstrip(), style=style, markup=False, highlight=False, soft_wrap=True
    )
