"""Checkpoints: folders of a model.safetensors and the card.json that explains it. No pickles.

A third file, training_embeddings.safetensors, is optional: a sample of what it was trained on.
"""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from models.encoder.card import DEFAULT_STEPS, MOST_CARD_BYTES, Card, parse_card
from models.encoder.checkpoint_folder import (
    CHECKPOINT_CARD,
    CHECKPOINT_SAMPLE,
    CHECKPOINT_WEIGHTS,
    SHIPPED_FOLDER,
    checkpoint_folder,
    incomplete_checkpoint,
    require_writable,
)
from models.encoder.encoder_weights import read_encoder, require_sound
from models.encoder.registry import DEFAULT_KIND
from models.encoder.series_encoder import SeriesEncoder
from models.encoder.training_sample import MOST_SAMPLE_BYTES, TrainingSample
from models.errors import CheckpointError, WorldError
from models.files.durable_files import sync_path, write_durably
from models.files.process_mark import process_mark, remove_abandoned
from models.files.regular_file import DamagedFile, read_small
from models.files.tensor_file import read_tensor_file


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An encoder (float32, eval mode, on the CPU) with its card.

    Attributes:
        fingerprint: The SHA-256 (hex) over weights, card and training sample. It depends neither on
            the folder's path nor on the card's formatting.
        embedding_fingerprint: The same without calibrations and training sample: checkpoints of one
            give the same embeddings.
        training_sample: What it was trained on, if a file of the folder says it.
    """

    encoder: SeriesEncoder
    card: Card
    fingerprint: str
    path: Path
    embedding_fingerprint: str = ""
    training_sample: TrainingSample | None = None


def is_shipped(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint lies in timesen's own folder."""
    return checkpoint.path.parent == SHIPPED_FOLDER


def load_checkpoint(path_or_name: str | Path) -> Checkpoint:
    """The checkpoint of a shipped name or of a folder; a shipped name goes first.

    Raises:
        CheckpointError: Something is missing, damaged or contradicts itself; the message names
            the file, the card's field or the tensor.
    """
    folder = checkpoint_folder(path_or_name)
    card_path, weights_path = folder / CHECKPOINT_CARD, folder / CHECKPOINT_WEIGHTS
    card = parse_card(_read(card_path, MOST_CARD_BYTES), str(card_path))
    with _explained(weights_path):
        encoder, stored = read_encoder(weights_path, card.architecture)
    sample_path = folder / CHECKPOINT_SAMPLE
    sampled, sample = b"", None
    if sample_path.exists():
        sampled = _read(sample_path, MOST_SAMPLE_BYTES)
        dim = card.architecture.embedding_dim
        sample = TrainingSample.from_bytes(sampled, dim, str(sample_path))
    return Checkpoint(
        encoder=encoder,
        card=card,
        fingerprint=_fingerprint(stored, card, sampled),
        path=folder,
        embedding_fingerprint=_fingerprint(stored, card.model_copy(update={"calibrations": ()})),
        training_sample=sample,
    )


def save_checkpoint(
    folder: str | Path,
    encoder: SeriesEncoder,
    card: Card,
    *,
    dtype: torch.dtype = torch.float32,
    replace: bool = False,
    training_sample: TrainingSample | None = None,
) -> str:
    """Write a checkpoint whole or not at all.

    With `dtype` float16 the file is half as large; loading gives float32 again. With `replace`, a
    folder that exists is replaced if it holds nothing but a checkpoint.

    Returns:
        The checkpoint's fingerprint.

    Raises:
        CheckpointError: Card and encoder do not fit, loading would refuse the weights or the
            sample, or the folder is in use.
        WorldError: The disk fails.
    """
    folder = Path(folder).absolute()
    _require_of(encoder, card)
    sampled = b"" if training_sample is None else training_sample.to_bytes()
    if sampled:
        TrainingSample.from_bytes(sampled, card.architecture.embedding_dim, f"sample for {folder}")
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    require_sound(tensors, f"encoder for {folder}")
    require_writable(folder, replace)
    stored = safetensors.torch.save(tensors)
    _write_files(folder, stored, card, sampled)
    return _fingerprint(stored, card, sampled)


def save_with_card(
    checkpoint: Checkpoint, card: Card, folder: str | Path, *, replace: bool = False
) -> str:
    """Write a checkpoint's own files, to the byte, with another card; whole or not at all.

    `folder` may be the checkpoint's own, with `replace`; so its card is replaced.

    Returns:
        The fingerprint.

    Raises:
        CheckpointError: The card is of another encoder, the files have changed since the checkpoint
            was loaded, or the folder is in use.
        WorldError: The disk fails.
    """
    folder = Path(folder).absolute()
    weights = checkpoint.path / CHECKPOINT_WEIGHTS
    with _explained(weights):
        stored = read_tensor_file(weights)
    sample = checkpoint.training_sample
    sampled = b""
    if sample is not None:
        sampled = _read(checkpoint.path / CHECKPOINT_SAMPLE, MOST_SAMPLE_BYTES)
    if _fingerprint(stored, checkpoint.card, sampled) != checkpoint.fingerprint:
        raise CheckpointError(
            str(checkpoint.path), "its files have changed meanwhile", "Start again"
        )
    _require_of(checkpoint.encoder, card)
    require_writable(folder, replace)
    _write_files(folder, stored, card, sampled)
    return _fingerprint(stored, card, sampled)


def _write_files(folder: Path, stored: bytes, card: Card, sampled: bytes) -> None:
    """Write weights, card and, where there is one, the training sample."""
    described = card.model_dump_json(indent=2).encode() + b"\n"
    files = {CHECKPOINT_WEIGHTS: stored, CHECKPOINT_CARD: described, CHECKPOINT_SAMPLE: sampled}
    try:
        with _written_beside(folder) as temporary:
            for name, content in files.items():
                if content:
                    write_durably(temporary / name, content)
    except OSError as error:
        raise WorldError(f"{folder} cannot be written: {error.strerror or error}") from error


def _require_of(encoder: SeriesEncoder, card: Card) -> None:
    if encoder.architecture != card.architecture:
        raise CheckpointError(
            f"card {card.name}",
            "its architecture is not the encoder's",
            "Make the card with encoder.architecture",
        )


def _read(path: Path, most: int) -> bytes:
    with _explained(path):
        return read_small(path, most)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the errors of reading a file of a checkpoint into ours."""
    try:
        yield
    except DamagedFile as error:
        raise CheckpointError(str(path), str(error), "Fetch the file again") from None
    except FileNotFoundError as error:
        raise incomplete_checkpoint(path.parent, path.name) from error
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error


def _fingerprint(stored: bytes, card: Card, sampled: bytes = b"") -> str:
    digest = hashlib.sha256(stored)
    fields = card.model_dump(mode="json")
    # The first cards state none of these: their fingerprints stay what they were.
    if card.trained_steps == DEFAULT_STEPS:
        del fields["trained_steps"]
    if not card.calibrations:
        del fields["calibrations"]
    if card.architecture.kind == DEFAULT_KIND:
        del fields["architecture"]["kind"]
    if not card.preprocessing.optional_bands:
        del fields["preprocessing"]["optional_bands"]
    digest.update(json.dumps(fields, sort_keys=True).encode())
    digest.update(sampled)
    return digest.hexdigest()


@contextmanager
def _written_beside(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its place at the end, or vanishes on failure."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():  # else what was replaced, or is to replace it, is all that is left of it
        remove_abandoned(folder.parent, re.compile(re.escape(f".{folder.name}.")))
    temporary = folder.with_name(f".{folder.name}.{process_mark()}-{uuid.uuid4().hex}")
    old = temporary.with_name(f"{temporary.name}-old")
    temporary.mkdir()
    try:
        yield temporary
        sync_path(temporary)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        sync_path(folder.parent)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
