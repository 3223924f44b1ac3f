"""Checkpoints: a folder of model.safetensors and a card.json that explains it. No pickles."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from safetensors import SafetensorError

from models.durable_files import sync_folder, write_durably
from models.encoder.encoder import Encoder, EncoderConfig
from models.encoder.preprocessing import Preprocessing
from models.errors import CheckpointError, WorldError

WEIGHTS = "model.safetensors"
CARD = "card.json"
_SHIPPED = Path(__file__).parents[1] / "checkpoints"


class Card(BaseModel):
    """What a checkpoint says of itself.

    `text_tower` is a spec as `models.towers.text_tower.load_text_tower` takes it. `logit_scale`
    multiplies the cosine before the softmax over classes. `demonstration`: not meant for real maps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    description: str
    demonstration: bool
    architecture: EncoderConfig
    preprocessing: Preprocessing
    text_tower: str = Field(min_length=1)
    text_tower_revision: str | None = None
    logit_scale: FiniteFloat = Field(gt=0)
    training: dict[str, Any]
    metrics: dict[str, Any]
    licence: str = Field(min_length=1)

    @model_validator(mode="after")
    def _preprocessing_fits_architecture(self) -> "Card":
        bands, months = len(self.preprocessing.bands), self.preprocessing.months
        if bands != self.architecture.bands:
            raise ValueError(
                f"preprocessing names {bands} bands, the architecture has {self.architecture.bands}"
            )
        if months != self.architecture.months:
            raise ValueError(
                f"preprocessing gives {months} months, the architecture has "
                f"{self.architecture.months}"
            )
        return self


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An encoder (float32, eval mode, on the CPU) with its card.

    `fingerprint` is the SHA-256 (hex) over weights and card; the folder's place, and how the
    card is laid out, do not enter.
    """

    encoder: Encoder
    card: Card
    fingerprint: str
    path: Path


def shipped_checkpoints() -> tuple[str, ...]:
    """The names of the checkpoints that come with timesen, sorted."""
    return tuple(sorted(card.parent.name for card in _SHIPPED.glob(f"*/{CARD}")))


def load_checkpoint(path_or_name: str | Path) -> Checkpoint:
    """The checkpoint of a shipped name or of a folder; a shipped name goes first.

    Raises CheckpointError, naming file, card field or tensor, for whatever is missing, damaged
    or contradicts itself.
    """
    folder = _folder(path_or_name)
    card = parse_card(_read(folder / CARD), str(folder / CARD))
    stored = _read(folder / WEIGHTS)
    try:
        tensors = safetensors.torch.load(stored)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            str(folder / WEIGHTS), f"truncated or corrupt ({error})", "Fetch the file again"
        ) from error
    encoder = fitted_encoder(card.architecture, tensors, str(folder / WEIGHTS))
    return Checkpoint(encoder, card, _fingerprint(stored, card), folder)


def save_checkpoint(
    folder: str | Path,
    encoder: Encoder,
    card: Card,
    *,
    dtype: torch.dtype = torch.float32,
    replace: bool = False,
) -> str:
    """Write a checkpoint whole or not at all; returns its fingerprint.

    `dtype` float16 halves the size; loading gives float32 again. A folder that exists is only
    replaced if asked, and only if it holds nothing but a checkpoint. Raises CheckpointError, or
    WorldError where the disk fails.
    """
    folder = Path(folder).absolute()
    if encoder.config != card.architecture:
        raise CheckpointError(
            f"card {card.name}", "its architecture is not the encoder's", "Put encoder.config in"
        )
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    _require_sound(tensors, f"encoder for {folder}")
    require_writable(folder, replace)
    stored = safetensors.torch.save(tensors)
    try:
        with _written_beside(folder) as temporary:
            write_durably(temporary / WEIGHTS, stored)
            write_durably(temporary / CARD, card.model_dump_json(indent=2).encode() + b"\n")
    except OSError as error:
        raise WorldError(f"{folder} cannot be written: {error.strerror or error}") from error
    return _fingerprint(stored, card)


def require_writable(folder: str | Path, replace: bool) -> None:
    """Raise CheckpointError where `save_checkpoint` would not write to a folder."""
    folder = Path(folder).absolute()
    if not folder.exists():
        return
    if not replace:
        raise CheckpointError(str(folder), "exists already", "Choose another, or say replace")
    strangers = sorted({path.name for path in folder.iterdir()} - {WEIGHTS, CARD})
    if strangers:
        raise CheckpointError(
            str(folder), f"also holds {', '.join(strangers)}", "Choose another, or empty it"
        )


def fitted_encoder(
    architecture: EncoderConfig, tensors: Mapping[str, torch.Tensor], where: str
) -> Encoder:
    """The encoder of these tensors, by the names of its state dict: float32, eval mode.

    Raises CheckpointError of `where`, naming the tensors, for any that is missing, unexpected, of
    another shape, not floating point, not finite, or an all-zero matrix.
    """
    with torch.device("meta"):  # the weights are there already: nothing to allocate or draw
        encoder = Encoder(architecture)
    _require_fitting(tensors, encoder.state_dict(), where)
    _require_sound(tensors, where)
    weights = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    encoder.load_state_dict(weights, assign=True)
    return encoder.eval()


def parse_card(content: bytes, where: str) -> Card:
    """The card of a JSON document; raises CheckpointError of `where`, naming every field amiss."""
    try:
        return Card.model_validate_json(content)
    except ValidationError as error:
        problems = []
        for entry in error.errors():
            cause = entry.get("ctx", {}).get("error")
            reason = cause.problem if isinstance(cause, CheckpointError) else entry["msg"]
            if entry["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
                reason = "unknown key"
            place = ".".join(map(str, entry["loc"]))
            reason = reason.removeprefix("Value error, ")
            problems.append(f"{place}: {reason}" if place else reason)
        raise CheckpointError(
            where, "; ".join(problems), "Correct the card, or fetch it again"
        ) from None


def _folder(path_or_name: str | Path) -> Path:
    if str(path_or_name) in shipped_checkpoints():
        return _SHIPPED / str(path_or_name)
    folder = Path(path_or_name).expanduser()
    if not folder.is_dir():
        shipped = ", ".join(shipped_checkpoints()) or "none"
        raise CheckpointError(
            str(path_or_name),
            "neither a checkpoint's folder nor the name of a shipped one",
            f"Shipped are: {shipped}",
        )
    return folder


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(
            str(path.parent), f"no {path.name} in it", f"A checkpoint holds {WEIGHTS} and {CARD}"
        ) from error
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error


def _require_fitting(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], where: str
) -> None:
    problems = []
    if missing := sorted(expected.keys() - tensors.keys()):
        problems.append(f"missing {', '.join(missing)}")
    if unexpected := sorted(tensors.keys() - expected.keys()):
        problems.append(f"unexpected {', '.join(unexpected)}")
    for name in sorted(expected.keys() & tensors.keys()):
        has, needs = tuple(tensors[name].shape), tuple(expected[name].shape)
        if has != needs:
            problems.append(f"{name} is {has}, the card's architecture needs {needs}")
    if problems:
        raise CheckpointError(where, "; ".join(problems), "Use the card that belongs to the file")


def _require_sound(tensors: Mapping[str, torch.Tensor], where: str) -> None:
    problems = []
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            problems.append(f"{name} is {tensor.dtype}, not floating point")
        elif not torch.isfinite(tensor).all():
            problems.append(f"{name} holds NaN or infinity")
        elif tensor.ndim == 2 and not tensor.any():  # positions and class token may be zero
            problems.append(f"{name} is all zero")
    if problems:
        raise CheckpointError(
            where, "; ".join(problems), "Use weights of a training that went well"
        )


def _fingerprint(stored: bytes, card: Card) -> str:
    digest = hashlib.sha256(stored)
    digest.update(json.dumps(card.model_dump(mode="json"), sort_keys=True).encode())
    return digest.hexdigest()


@contextmanager
def _written_beside(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its place at the end, or vanishes on failure."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    old = temporary.with_suffix(".old")
    temporary.mkdir()
    try:
        yield temporary
        sync_folder(temporary)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        sync_folder(folder.parent)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
