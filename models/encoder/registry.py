"""The encoder architectures that timesen knows, by the `architecture.kind` of a checkpoint's card.

To add one, write its file and its fast form (`models.encoder.series_encoder` says what they hold)
and add a line to `ENCODERS`.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from models.encoder.perceptron import PerceptronArchitecture, PerceptronEncoder
from models.encoder.perceptron_fast import FastPerceptron
from models.encoder.series_encoder import Architecture, FastEncoder, SeriesEncoder
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.encoder.timesenclip_fast import FastTimeSenClip
from models.errors import CheckpointError, number_text
from models.files.tensor_file import MOST_TENSORS

_TRAINING_BYTES = 16  # of a weight: float32, its gradient, and two moments of AdamW

DEFAULT_KIND = "timesenclip"
"""The kind of cards that state none."""


@dataclass(frozen=True)
class EncoderKind:
    """The three classes of an encoder architecture."""

    architecture: type[Architecture]
    encoder: Callable[[Any], SeriesEncoder]
    fast: Callable[[Any], FastEncoder]


ENCODERS: Mapping[str, EncoderKind] = {
    "timesenclip": EncoderKind(TimeSenClipArchitecture, TimeSenClipEncoder, FastTimeSenClip),
    "perceptron": EncoderKind(PerceptronArchitecture, PerceptronEncoder, FastPerceptron),
}


def make_architecture(sizes: Mapping[str, Any]) -> Architecture:
    """The architecture of sizes by name, as in a card; `kind` says which, sizes have defaults.

    Raises:
        CheckpointError: The kind is unknown, or no encoder of these sizes can be built.
        pydantic.ValidationError: A size is unknown or of another type.
    """
    kind = sizes.get("kind", DEFAULT_KIND)
    if not isinstance(kind, str) or kind not in ENCODERS:
        known = ", ".join(ENCODERS)
        raise CheckpointError(
            "architecture",
            f"kind {kind!r} is unknown; this version of timesen knows {known}",
            "Correct the checkpoint's card, or take the version of timesen that wrote it",
        )
    # By way of JSON, from which a strict dataclass takes its fields.
    adapter: TypeAdapter[Architecture] = TypeAdapter(ENCODERS[kind].architecture)
    try:
        return adapter.validate_json(json.dumps(dict(sizes)))
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error")
        if isinstance(cause, CheckpointError):
            raise cause from None
        raise


def require_buildable(architecture: Architecture) -> None:
    """Raise CheckpointError for sizes that this machine could not train."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = _TRAINING_BYTES * architecture.weight_count
    if needed > memory or architecture.tensor_count > MOST_TENSORS:
        raise CheckpointError(
            "architecture",
            f"an encoder of these sizes has {number_text(architecture.weight_count)} weights in "
            f"{number_text(architecture.tensor_count)} tensors; this machine's memory of "
            f"{memory / 1e9:.0f} GB takes {memory // _TRAINING_BYTES:,} in training, and a file "
            f"{MOST_TENSORS:,} tensors",
            "Give smaller sizes",
        )


def new_encoder(architecture: Architecture) -> SeriesEncoder:
    """A new encoder, its weights drawn from torch's generator.

    Raises:
        CheckpointError: This machine could not train it.
    """
    require_buildable(architecture)
    return ENCODERS[architecture.kind].encoder(architecture)


def empty_encoder(architecture: Architecture) -> SeriesEncoder:
    """An encoder whose weights hold no memory: only their names and shapes are there."""
    with torch.device("meta"):
        return ENCODERS[architecture.kind].encoder(architecture)


def fast_form(encoder: SeriesEncoder) -> FastEncoder:
    """The fast form of an encoder: copies of its weights, on its device."""
    return ENCODERS[encoder.architecture.kind].fast(encoder)
