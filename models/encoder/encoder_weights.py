"""An encoder's weights: checked against its architecture before anything is built or read.

A card and a file can come from anybody, so nothing is allocated for what either says alone.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from models.encoder.registry import empty_encoder
from models.encoder.series_encoder import Architecture, SeriesEncoder
from models.errors import CheckpointError, first_few, number_text
from models.files.regular_file import DamagedFile
from models.files.tensor_file import FLOATS, StoredTensor, read_tensor_file

_MOST_TO_BUILD = 10  # times the weights of its file that an encoder may have
_MOST_TENSORS = 2  # times the tensors of its file that an encoder may have
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_OTHER_CARD = "Use the card that belongs to the file"


def read_encoder(path: Path, architecture: Architecture) -> tuple[SeriesEncoder, bytes]:
    """The encoder of a safetensors file: float32, eval mode; and the file's bytes.

    The file's header is checked first: what does not fit the architecture is not read.

    Raises:
        CheckpointError: As `encoder_of_weights` does, or the file is damaged.
        OSError: It cannot be read.
    """

    def check(stored: Mapping[str, StoredTensor]) -> None:
        shapes = {name: tensor.shape for name, tensor in stored.items()}
        _empty_encoder_of(architecture, shapes, str(path))
        others = {name: one.dtype for name, one in stored.items() if one.dtype not in FLOATS}
        _require_floats(others, str(path))

    try:
        content = read_tensor_file(path, check)
        tensors = safetensors.torch.load(content)
    except (DamagedFile, SafetensorError) as error:
        raise CheckpointError(
            str(path), f"truncated or corrupt ({error})", "Fetch the file again"
        ) from None
    return encoder_of_weights(architecture, tensors, str(path)), content


def encoder_of_weights(
    architecture: Architecture, tensors: Mapping[str, torch.Tensor], where: str
) -> SeriesEncoder:
    """The encoder of these weights, by the names of its state dict: float32, eval mode.

    An encoder far larger than the weights is refused before it is built. `where` is the file or
    folder that errors name.

    Raises:
        CheckpointError: A tensor is missing, unexpected, of another shape, not floating point,
            not finite, or an all-zero matrix; the message names it.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    encoder = _empty_encoder_of(architecture, shapes, where)
    _require_floats(_of_other_dtypes(tensors), where)
    weights = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    require_sound(weights, where)  # a large number of float64 is infinite now
    encoder.load_state_dict(weights, assign=True)
    return encoder.eval()


def require_sound(tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Raise CheckpointError for weights that are no finite floats, or matrices of zeros."""
    _require_floats(_of_other_dtypes(tensors), where)
    problems = []
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            problems.append(f"{name} holds NaN or infinity")
        elif tensor.ndim == 2 and not tensor.any():  # positions and class token may be zero
            problems.append(f"{name} is all zero")
    _raise_unsound(problems, where)


def _of_other_dtypes(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    return {n: str(tensor.dtype) for n, tensor in tensors.items() if tensor.dtype not in _FLOATS}


def _require_floats(others: Mapping[str, str], where: str) -> None:
    problems = [
        f"{name} is {dtype}, not floating point of 16, 32 or 64 bits"
        for name, dtype in others.items()
    ]
    _raise_unsound(problems, where)


def _raise_unsound(problems: Iterable[str], where: str) -> None:
    if text := first_few(problems, "; "):
        raise CheckpointError(where, text, "Use weights of a training that went well")


def _empty_encoder_of(
    architecture: Architecture, shapes: Mapping[str, tuple[int, ...]], where: str
) -> SeriesEncoder:
    """The encoder without numbers; raises CheckpointError where the shapes are not its own."""
    counts = sum(map(math.prod, shapes.values()))
    for what, stored, needed, most in (
        ("weights", counts, architecture.weight_count, _MOST_TO_BUILD),
        ("tensors", len(shapes), architecture.tensor_count, _MOST_TENSORS),
    ):
        if needed > most * (stored + 1):
            raise CheckpointError(
                where,
                f"it holds {stored:,} {what}, the card's architecture has {number_text(needed)}",
                _OTHER_CARD,
            )
    encoder = empty_encoder(architecture)
    if problems := first_few(_misfits(shapes, encoder.state_dict()), "; "):
        raise CheckpointError(where, problems, _OTHER_CARD)
    return encoder


def _misfits(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, torch.Tensor]
) -> Iterable[str]:
    if missing := expected.keys() - shapes.keys():
        yield f"missing {first_few(sorted(missing))}"
    if unexpected := shapes.keys() - expected.keys():
        yield f"unexpected {first_few(sorted(unexpected))}"
    for name in sorted(expected.keys() & shapes.keys()):
        needed = tuple(expected[name].shape)
        if shapes[name] != needed:
            yield f"{name} is {shapes[name]}, the card's architecture needs {needed}"
