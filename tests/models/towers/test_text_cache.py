import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from models.encoder.timesenclip import TimeSenClipArchitecture
from models.errors import CheckpointError
from models.towers.text_cache import cache_folder, embed_texts
from models.towers.text_embeddings import embed_for_checkpoint, embed_vocabulary
from models.towers.text_tower import load_text_tower
from models.vocabulary.vocabulary import vocabulary_from_words
from tests.made_card import made_card

TEXTS = ("wheat", "lake", "forest")
DIM = 12


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "timesen" / "text"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A random CLIP text tower of the real classes that reads letters, as saved."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[]).save_pretrained(
        tmp_path / "clip"
    )
    torch.manual_seed(7)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        projection_dim=DIM,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    CLIPTextModelWithProjection(config).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def _tower(folder: Path) -> tuple[str, str]:
    return f"clip:{folder}", load_text_tower(f"clip:{folder}").revision


def test_the_same_words_need_no_tower_again(folder: Path) -> None:
    spec, revision = _tower(folder)
    expected = load_text_tower(spec).embed(TEXTS)
    np.testing.assert_array_equal(embed_texts(spec, revision, TEXTS), expected)
    shutil.rmtree(folder)
    again = embed_texts(spec, revision, TEXTS)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, expected)


def test_other_words_another_order_and_another_revision_are_embedded(
    folder: Path, cache: Path
) -> None:
    spec, revision = _tower(folder)
    embed_texts(spec, revision, TEXTS)
    turned = embed_texts(spec, revision, TEXTS[::-1])
    np.testing.assert_allclose(turned, load_text_tower(spec).embed(TEXTS)[::-1], atol=1e-6)
    embed_texts(spec, revision, TEXTS[:2])
    assert len(list(cache.iterdir())) == 3
    with pytest.raises(ValueError, match="wanted is revision sha256:0123456789abcdef"):
        embed_texts(spec, "sha256:0123456789abcdef", TEXTS)


def test_weights_that_are_not_pinned_are_not_cached(folder: Path, cache: Path) -> None:
    embed_texts(f"clip:{folder}", None, TEXTS)
    assert not cache.exists()
    shutil.rmtree(folder)
    for revision in (None, "main", "v1.0"):  # a branch or tag may move
        with pytest.raises((ValueError, RuntimeError)):
            embed_texts(f"clip:{folder}", revision, TEXTS)


def _flipped(content: bytes) -> bytes:
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


def _without(tensor: str, content: bytes) -> bytes:
    tensors = safetensors.numpy.load(content)
    del tensors[tensor]
    return safetensors.numpy.save(tensors)


def _of_two(content: bytes) -> bytes:
    tensors = safetensors.numpy.load(content)
    return safetensors.numpy.save(tensors | {"embeddings": tensors["embeddings"][:2].copy()})


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[:-1],
        lambda content: b"\xff" * len(content),
        _flipped,
        _of_two,
        lambda content: _without("sha256", content),
        lambda content: _without("embeddings", content),
    ],
)
def test_damaged_files_are_made_anew(
    folder: Path, cache: Path, damage: Callable[[bytes], bytes]
) -> None:
    spec, revision = _tower(folder)
    expected = embed_texts(spec, revision, TEXTS)
    [file] = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    np.testing.assert_array_equal(embed_texts(spec, revision, TEXTS), expected)
    assert file.read_bytes() == whole
    assert list(cache.iterdir()) == [file]


def test_a_folder_that_cannot_be_written_only_costs_the_time(folder: Path, cache: Path) -> None:
    cache.parent.parent.write_text("a file in the folder's place")
    spec, revision = _tower(folder)
    expected = load_text_tower(spec).embed(TEXTS)
    np.testing.assert_array_equal(embed_texts(spec, revision, TEXTS), expected)


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache" / "timesen" / "text"
    monkeypatch.setenv("HOME", str(tmp_path))
    for invalid in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", invalid)
        assert cache_folder() == tmp_path / ".cache" / "timesen" / "text"


def test_a_checkpoints_own_tower_embeds(folder: Path) -> None:
    spec, revision = _tower(folder)
    config = TimeSenClipArchitecture(dim=8, depth=1, heads=1, feedforward=8, embedding_dim=DIM)
    card = made_card(config, text_tower=spec, text_tower_revision=revision)
    words = vocabulary_from_words("forest, lake")
    expected = embed_vocabulary(words, load_text_tower(spec)).members
    np.testing.assert_array_equal(embed_for_checkpoint(words, card).members, expected)
    shutil.rmtree(folder)
    np.testing.assert_array_equal(embed_for_checkpoint(words, card).members, expected)


def test_a_tower_of_another_dimension_is_refused(folder: Path) -> None:
    config = TimeSenClipArchitecture(dim=8, depth=1, heads=1, feedforward=8, embedding_dim=DIM + 4)
    card = made_card(config, text_tower=f"clip:{folder}")
    with pytest.raises(CheckpointError, match=r"embeds into 16 dimensions, and its .* into 12"):
        embed_for_checkpoint(vocabulary_from_words("forest, lake"), card)
