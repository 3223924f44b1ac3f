"""A cache of text embeddings, so that the same words load no text tower again."""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from models.files.durable_files import write_durably
from models.files.process_mark import process_mark, remove_abandoned
from models.files.regular_file import DamagedFile
from models.files.tensor_file import StoredTensor, read_tensor_file
from models.towers.text_tower import load_text_tower

_FORMAT = 1
_HIDDEN = re.compile(r"\.")
_MOST_DIM = 2**14  # numbers of an embedding
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

    def check(stored: Mapping[str, StoredTensor]) -> None:
        embeddings, checksum = stored.get("embeddings"), stored.get("sha256")
        if checksum != StoredTensor("U8", (32,)) or embeddings is None:
            raise DamagedFile("it has no embeddings or no checksum")
        rows, *dims = embeddings.shape
        if (embeddings.dtype, rows, len(dims)) != ("F32", count, 1) or dims[0] > _MOST_DIM:
            raise DamagedFile(f"its embeddings are {embeddings}")

    try:
        tensors = safetensors.numpy.load(read_tensor_file(path, check))
    except (OSError, SafetensorError, DamagedFile):
        return None
    embeddings: np.ndarray = tensors["embeddings"]
    whole = tensors["sha256"].tobytes() == _checksum(embeddings).tobytes()
    return embeddings if whole else None


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
