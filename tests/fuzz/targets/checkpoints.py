"""Checkpoints: cards, weights and samples of training from anybody."""

import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from models.encoder.checkpoint import (
    CHECKPOINT_CARD,
    CHECKPOINT_SAMPLE,
    CHECKPOINT_WEIGHTS,
    load_checkpoint,
    save_checkpoint,
)
from models.encoder.perceptron import PerceptronArchitecture
from models.encoder.registry import new_encoder
from models.encoder.timesenclip import TimeSenClipArchitecture
from models.encoder.training_sample import TrainingDistance, sample_training
from tests.fuzz.mutate import changed_bytes, changed_document, to_json
from tests.fuzz.target import Files, Target, Wrong
from tests.made_card import made_card

_KINDS = ("timesenclip", "perceptron")
_DIM = 12
_NUMBERS = (
    *(torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int8, torch.int64, torch.bool, torch.complex64),
)
_FILES = (CHECKPOINT_CARD, CHECKPOINT_WEIGHTS, CHECKPOINT_SAMPLE)


class Checkpoints(Target):
    """A checkpoint's folder, loaded, and some pixels encoded by it."""

    name = "checkpoints"

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._files = {
            kind: {name: (seeds / kind / name).read_bytes() for name in _FILES} for kind in _KINDS
        }
        self._cards = [json.loads(self._files[kind][CHECKPOINT_CARD]) for kind in _KINDS]

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        torch.manual_seed(5)
        small = TimeSenClipArchitecture(
            dim=8, depth=1, heads=2, feedforward=8, embedding_dim=_DIM, bands=10
        )
        layers = PerceptronArchitecture(embedding_dim=_DIM)
        draw = np.random.default_rng(1)
        vectors = draw.standard_normal((80, _DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        sample = sample_training(vectors[:40], vectors[40:], size=20)
        for kind, architecture in zip(_KINDS, (small, layers), strict=True):
            card: Any = made_card(architecture)  # type: ignore[arg-type]
            save_checkpoint(folder / kind, new_encoder(architecture), card, training_sample=sample)

    def make(self, draw: random.Random) -> Files:
        files = dict(self._files[draw.choice(_KINDS)])
        changed = draw.choice((CHECKPOINT_CARD, CHECKPOINT_CARD, *_FILES))
        content, kind = files[changed], draw.random()
        if changed == CHECKPOINT_CARD and kind < 0.2:
            files[changed] = _with_sizes(content, draw)
        elif changed == CHECKPOINT_CARD and kind < 0.85:
            files[changed] = to_json(changed_document(json.loads(content), draw, self._cards))
        elif changed == CHECKPOINT_WEIGHTS and kind < 0.2:
            files[changed] = _as_numbers(content, draw)
        elif changed != CHECKPOINT_CARD and kind < 0.7:
            files[changed] = _changed_tensors(content, draw)
        else:
            files[changed] = changed_bytes(content, draw, within=draw.choice((200, None)))
        return files

    def read(self, files: Files) -> None:
        checkpoint = load_checkpoint(self.write(files))
        card = checkpoint.card
        for steps in card.trained_steps:
            series = torch.full((3, steps, len(card.preprocessing.bands)), 2000.0)
            with torch.inference_mode():
                embeddings = checkpoint.encoder(card.preprocessing.normalise(series))
            if embeddings.shape != (3, card.architecture.embedding_dim):
                raise Wrong(f"embeddings of shape {tuple(embeddings.shape)}")
            if checkpoint.training_sample is not None:
                distance = TrainingDistance(checkpoint.training_sample, torch.device("cpu"))
                distance.percent(embeddings)
        card.model_dump_json().encode()
        card.logit_scale_of("a", 12)


def _with_sizes(content: bytes, draw: random.Random) -> bytes:
    """A card whose architecture has other sizes, from small ones to absurd ones."""
    card = json.loads(content)
    sizes = [name for name, value in card["architecture"].items() if isinstance(value, int)]
    for name in draw.sample(sizes, draw.randint(1, 3)):
        card["architecture"][name] = draw.choice((1, 2, 3, 10 ** draw.randint(1, 19)))
    return to_json(card)


def _as_numbers(content: bytes, draw: random.Random) -> bytes:
    """The weights as numbers of another type, all of them or one."""
    tensors = load(content)
    kind = draw.choice(_NUMBERS)
    for name in list(tensors) if draw.random() < 0.5 else [draw.choice(list(tensors))]:
        tensors[name] = tensors[name].to(kind)
    return save(tensors)


def _changed_tensors(content: bytes, draw: random.Random) -> bytes:
    """A safetensors file with another header, its length and its data as they were."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    changed = to_json(changed_document(header, draw, most=3))
    if draw.random() < 0.3:
        kinds = (
            "F64",
            "F32",
            "F16",
            "BF16",
            "F8_E4M3",
            "F8_E5M2",
            "I8",
            "I64",
            "BOOL",
            "U8",
            "C64",
        )
        name = draw.choice([name for name in header if name != "__metadata__"])
        header[name]["dtype"] = draw.choice(kinds)
        changed = to_json(header)
    return struct.pack("<Q", len(changed)) + changed + content[8 + length :]
