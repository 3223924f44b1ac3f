"""Checkpoint files in the layout of the TimeSenCLIP authors' training with Lightning."""

import argparse
from pathlib import Path
from typing import Any

import torch

from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder

CONFIG = TimeSenClipArchitecture(dim=128, depth=2, heads=2, feedforward=20, embedding_dim=512)
Tensors = dict[str, torch.Tensor]


def encoder(seed: int = 0, config: TimeSenClipArchitecture = CONFIG) -> TimeSenClipEncoder:
    torch.manual_seed(seed)
    made = TimeSenClipEncoder(config).eval()
    with torch.no_grad():  # zero at the start of a training, not at its end
        made.time_pos_encoding.normal_()
        made.class_token.normal_()
    return made


def under(prefix: str, of: TimeSenClipEncoder | None = None) -> Tensors:
    return {prefix + name: t.clone() for name, t in (of or encoder()).state_dict().items()}


def beside() -> dict[str, torch.Tensor]:
    """The tensors that the authors' training saves beside the encoder."""
    return {
        "learner.queue": torch.randn(512, 8),
        "learner.queue_ptr": torch.zeros(1, dtype=torch.long),
        "learner.pooling_layer.linear.weight": torch.randn(1, 512),
        "logit_scale": torch.tensor(3.0),
        "clip_model.logit_scale": torch.tensor(4.6052),
        "clip_model.visual.proj": torch.randn(4, 4),
    }


def lightning(state: Tensors, **more: Any) -> dict[str, Any]:
    """Make a dictionary like Lightning's, with the optimiser's state."""
    weights = [torch.nn.Parameter(torch.zeros(3))]
    optimiser = torch.optim.AdamW(weights)
    weights[0].sum().backward()
    optimiser.step()
    arguments = argparse.Namespace(LR=1e-4, channels=["B4", "B3", "B2"], device="cuda:0")
    return {
        "epoch": 12,
        "global_step": 3400,
        "pytorch-lightning_version": "1.9.5",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_top1'}": {"best": torch.tensor(0.5)}},
        "optimizer_states": [optimiser.state_dict()],
        "lr_schedulers": [{"T_max": 10, "last_epoch": 12, "_last_lr": [1e-4]}],
        "hyper_parameters": {"args": arguments, "classes": ["Cropland", "Water"]},
        "hparams_name": "kwargs",
    } | more


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path
