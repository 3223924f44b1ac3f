"""A cache of text embeddings, so that the same words load no text tower again."""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from models.durable_files import write_durably
from models.process_mark import process_mark, remove_abandoned
from models.towers.text_tower import load_text_tower

_FORMAT = 1
_HIDDEN = re.compile(r"\.")
_FIXED = re.compile(r"[0-9a-f]{40}|sha256:[0-9a-f]{16}")


def embed_texts(spec: str, revision: str | None, texts: Sequence[str]) -> np.ndarray:
    """Unit-length embeddings of texts, float32 (n, dim), by the tower of a spec.

    Texts that were embedded before by this spec and revision come from the user's cache folder, and
    the tower isn't loaded. Only a revision that names fixed weights (a commit, or
    `TextTower.revision`'s hash) is cached: a branch moves. A damaged file is written again; a
    folder that cannot be written only costs the time. Raises as `load_text_tower`.
    """
    path = _cache_path(spec, revision, texts)
    if path is not None and (cached := _read(path, len(texts))) is not None:
        return cached
    embeddings = load_text_tower(spec, revision).embed(texts)
    if path is not None:
        _write(path, embeddings)
    return embeddings


def cache_folder() -> Path | None:
    """The folder of cached text embeddings; None where the user has no home.

    $XDG_CACHE_HOME or ~/.cache, in it timesen/text
    (https://specifications.freedesktop.org/basedir-spec/latest/).
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        if not base.is_absolute():  # a relative path is to be ignored, says the specification
            base = Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "timesen" / "text"


def _cache_path(spec: str, revision: str | None, texts: Sequence[str]) -> Path | None:
    folder = cache_folder()
    if folder is None or revision is None or not _FIXED.fullmatch(revision):
        return None
    key = json.dumps([_FORMAT, spec, revision, list(texts)])
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"


def _read(path: Path, count: int) -> np.ndarray | None:
    """The embeddings in a file; None where it is absent or damaged."""
    try:
        tensors = safetensors.numpy.load(path.read_bytes())
        embeddings, checksum = tensors["embeddings"], tensors["sha256"]
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    whole = embeddings.ndim == 2 and embeddings.shape[0] == count
    return embeddings if whole and checksum.tobytes() == _checksum(embeddings).tobytes() else None


def _write(path: Path, embeddings: np.ndarray) -> None:
    content = {"embeddings": embeddings, "sha256": _checksum(embeddings)}
    temporary = path.with_name(f".{process_mark()}-{uuid.uuid4().hex}")
    remove_abandoned(path.parent, _HIDDEN)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(temporary, safetensors.numpy.save(content))
        temporary.replace(path)
    except OSError:  # read-only or full: the embeddings are computed again next time
        with suppress(OSError):
            temporary.unlink()


def _checksum(embeddings: np.ndarray) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(embeddings.tobytes()).digest(), np.uint8)
