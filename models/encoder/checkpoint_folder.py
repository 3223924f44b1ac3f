"""The folder of a checkpoint: its files, and the names of those that come with timesen.

It needs no PyTorch, so that a name that is wrong is told at once.
"""

from pathlib import Path

from models.errors import CheckpointError
from models.near_names import did_you_mean
from models.option import user_path

CHECKPOINT_WEIGHTS = "model.safetensors"
CHECKPOINT_CARD = "card.json"
CHECKPOINT_SAMPLE = "training_embeddings.safetensors"
SHIPPED_FOLDER = Path(__file__).parents[1] / "checkpoints"
"""Where the checkpoints lie that come with timesen."""


def shipped_checkpoints() -> tuple[str, ...]:
    """The names of the checkpoints that come with timesen, sorted."""
    return tuple(sorted(card.parent.name for card in SHIPPED_FOLDER.glob(f"*/{CHECKPOINT_CARD}")))


def checkpoint_folder(path_or_name: str | Path) -> Path:
    """The folder of a shipped name or of a path; a shipped name goes first.

    Raises:
        CheckpointError: There is no such folder.
    """
    text = str(path_or_name)
    if text in shipped_checkpoints():
        return SHIPPED_FOLDER / text
    folder = user_path(path_or_name)
    if not folder.is_dir():
        shipped = shipped_checkpoints()
        near = did_you_mean(text, shipped)
        raise CheckpointError(
            text,
            f"neither a checkpoint's folder nor the name of a shipped one{near}",
            f"Shipped are: {', '.join(shipped) or 'none'}",
        )
    return folder


def require_checkpoint_files(path_or_name: str | Path) -> None:
    """Raise CheckpointError where a checkpoint, or its weights or card, are not there."""
    folder = checkpoint_folder(path_or_name)
    for name in (CHECKPOINT_CARD, CHECKPOINT_WEIGHTS):
        if not (folder / name).exists():
            raise incomplete_checkpoint(folder, name)


def incomplete_checkpoint(folder: Path, missing: str) -> CheckpointError:
    """Make the error of a folder without one of a checkpoint's files."""
    return CheckpointError(
        str(folder),
        f"no {missing} in it",
        f"A checkpoint holds {CHECKPOINT_WEIGHTS} and {CHECKPOINT_CARD}",
    )


def require_writable(folder: str | Path, replace: bool) -> None:
    """Raise CheckpointError where a checkpoint would not be written to a folder."""
    folder = Path(folder).absolute()
    if not folder.exists():
        return
    if not replace:
        raise CheckpointError(str(folder), "exists already", "Choose another, or say replace")
    own = {CHECKPOINT_WEIGHTS, CHECKPOINT_CARD, CHECKPOINT_SAMPLE}
    if others := sorted({path.name for path in folder.iterdir()} - own):
        raise CheckpointError(
            str(folder), f"also holds {', '.join(others)}", "Choose another, or empty it"
        )
