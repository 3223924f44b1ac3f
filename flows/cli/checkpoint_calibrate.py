"""The command `timesen checkpoint calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flows.cli.app import argument, command_app, named_option
from flows.cli.input_checks import require_named
from flows.execution.console import PlainConsole, say
from models.errors import CheckpointError

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from models.encoder.checkpoint import Checkpoint

_BUFFER = 1.0  # km

calibrate_app = command_app(
    "checkpoint calibrate",
    examples=(
        "timesen checkpoint calibrate my-checkpoint points --vocabulary lucas-land-cover "
        "--label cover",
        "timesen checkpoint calibrate real-land points --vocabulary cropland --label crop "
        "--out my-land",
    ),
)


@calibrate_app.default
def calibrate_on_points(
    checkpoint: Annotated[
        str, argument("NAME|FOLDER", "A shipped checkpoint's name, or a folder.", "checkpoint")
    ],
    data: Annotated[
        str,
        argument("SET|SERIES", "A training set or a table of series that it was not trained on."),
    ],
    /,
    *,
    vocabulary: Annotated[
        str, named_option("NAME|FILE", "A shipped vocabulary's name, or a TOML file.", "vocabulary")
    ],
    label: Annotated[str, Parameter(metavar="COLUMN", help="The column of the true classes.")],
    level: Annotated[
        Literal["class", "parent"] | None,
        Parameter(help="Compare classes or their parents; default: as the labels are."),
    ] = None,
    split: Annotated[
        Literal["validation", "test", "all"] | None,
        Parameter(help="Rows to fit to; default: validation, of a table of series all."),
    ] = None,
    steps: Annotated[
        Literal[12, 4, 1], Parameter(help="Steps of the series, as the map will have them.")
    ] = 12,
    block_km: Annotated[
        float, Parameter(metavar="KM", help="Side of the blocks of land that are held out.")
    ] = 50.0,
    out: Annotated[
        Path | None,
        Parameter(metavar="FOLDER", help="Where to write; default: the checkpoint's own folder."),
    ] = None,
) -> int:
    """Fit a checkpoint's confidence for a vocabulary to labelled points, and write it on its card.

    The weights stay as they are, and so do the classes of a map; its confidence becomes a
    probability on land like that of the points. Other vocabularies, and classes in words, keep the
    card's own logit scale.
    """
    for kind, named in (("checkpoint", checkpoint), ("vocabulary", vocabulary), ("folder", data)):
        require_named(kind, named)
    # Imported here: torch takes seconds, which a wrong name need not wait for.
    from models.encoder.checkpoint import load_checkpoint, save_with_card
    from models.encoder.checkpoint_folder import require_writable
    from models.vocabulary.vocabulary import load_vocabulary
    from pipeline.evaluation.calibrate import CalibrationPoints, calibrate_checkpoint
    from pipeline.evaluation.samples import ALL, open_samples
    from pipeline.training_set.spatial_split import SplitRule

    found, words = load_checkpoint(checkpoint), load_vocabulary(vocabulary)
    folder = _folder(found, out)
    require_writable(folder, replace=out is None)
    rule = SplitRule(block_km=block_km, buffer_km=min(_BUFFER, block_km / 4))
    inputs = found.card.preprocessing
    source = open_samples(data, inputs.bands, rule, inputs.optional_bands)
    part = split or (ALL if source.default_split == ALL else "validation")
    points = CalibrationPoints(source, part, label, level)
    fitted = calibrate_checkpoint(found, words, points, steps)
    card = found.card.with_calibration(fitted)
    fingerprint = save_with_card(found, card, folder, replace=out is None)
    console = PlainConsole()
    for name, text in (
        ("Vocabulary", f"{fitted.vocabulary}, T = {fitted.steps}"),
        ("Points", f"{fitted.points:,} of the {fitted.data}"),
        ("Logit scale", f"{found.card.logit_scale:.6g} → {fitted.logit_scale:.6g}"),
        (
            "Error (ECE)",
            f"{fitted.ece_before:.3f} → {fitted.ece_after:.3f}, on points of blocks of land that "
            "the scale was not fitted to",
        ),
        ("Checkpoint", f"{folder}: fingerprint {fingerprint}"),
    ):
        say(console, f"{name:<12} {text}")
    return 0


def _folder(checkpoint: "Checkpoint", out: Path | None) -> Path:
    """The folder to write to; a shipped checkpoint is not changed in its place."""
    from models.encoder.checkpoint import is_shipped

    if out is None and is_shipped(checkpoint):
        raise CheckpointError(
            checkpoint.card.name,
            "it is a shipped checkpoint, which stays as it is",
            "Give --out, a folder for the calibrated one",
        )
    return checkpoint.path if out is None else out
