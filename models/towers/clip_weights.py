"""Files of CLIP models, in a folder or from the Hugging Face hub: the text or the image half."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.errors import UserError, WorldError
from models.option import user_path
from models.towers.clip_sizes import require_finite, require_sizes, require_small_texts


@dataclass(frozen=True)
class ClipHalf:
    """A half of CLIP as files.

    Attributes:
        name: "text tower" or "image tower".
        kinds: The specs that there are, for errors.
        needed: Files that a folder must have, by their meaning: one of several names each.
        load: `load(place, label, **options)` returns the tokenizer or image processor, and the
            model; `label` names the tower in errors.
    """

    name: str
    kinds: str
    needed: Mapping[str, Sequence[str]]
    load: Callable[..., tuple[Any, Any]]


def load_half(half: ClipHalf, place: str, revision: str | None) -> tuple[Any, Any, str]:
    """Load a half of CLIP.

    `place` is a folder or a hub id; `revision` is as for `load_text_tower`.

    Returns:
        The tokenizer or image processor, the model, and the revision of its weights.

    Raises:
        UserError: There is no such half.
        WorldError: The hub cannot be reached.
    """
    from huggingface_hub import try_to_load_from_cache

    folder, label = user_path(place), f"{half.name} clip:{place}"
    if folder.is_dir():
        prepare, model = _load_folder(folder, label, half)
        weights = weights_hash(model)
        require_revision(label, revision, weights)
        return prepare, model, weights
    if place.startswith(("/", ".", "~")):
        raise UserError(label, "there is no such folder", half.kinds)
    prepare, model = _load_hub(place, revision, label, half)
    path = try_to_load_from_cache(place, "config.json", revision=revision)  # …/COMMIT/config.json
    return prepare, model, Path(path).parent.name if isinstance(path, str) else weights_hash(model)


def pretrained_half(kind: Any, place: str, label: str, half: str, **options: Any) -> Any:
    """Load a model of a class of transformers, float32, in eval mode, from safetensors alone.

    `half` is "text" or "image". UserError is raised where tensors are missing, or far from what
    the config says.
    """
    require_sizes(kind, place, label, options)
    model, loading = kind.from_pretrained(
        place, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **options
    )
    absent = sorted(map(str, loading["missing_keys"] or loading["mismatched_keys"]))
    if absent:
        raise UserError(
            label,
            f"no CLIP {half} tower: {len(absent)} tensors do not fit, first {absent[0]}",
            f"Give a CLIP model with its {half} projection",
        )
    require_finite(model, label)
    return model.eval()


def weights_hash(model: torch.nn.Module) -> str:
    """A hash that identifies a model's weights: "sha256:" and 16 digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().numpy())
    return f"sha256:{digest.hexdigest()[:16]}"


def require_revision(spec: str, wanted: str | None, found: str) -> None:
    """Raise UserError where the weights are others than wanted."""
    if wanted is not None and wanted != found:
        raise UserError(
            spec,
            f"its weights are {found}, wanted is revision {wanted}",
            "Use the weights that the checkpoint was trained with",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' progress bars and loading tables."""
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


def _load_folder(folder: Path, label: str, half: ClipHalf) -> tuple[Any, Any]:
    remedy = "Save both with transformers' save_pretrained, the weights as safetensors"
    lacking = [
        name
        for name, files in half.needed.items()
        if not any((folder / file).is_file() for file in files)
    ]
    if lacking:
        raise UserError(label, f"the folder has no {', no '.join(lacking)}", remedy)
    require_small_texts(folder, label)
    try:
        return half.load(str(folder), label, local_files_only=True)
    except UserError:
        raise
    except Exception as error:  # transformers and tokenizers raise many kinds
        raise UserError(label, f"damaged, or not CLIP ({type(error).__name__})", remedy) from error


def _load_hub(hub_id: str, revision: str | None, label: str, half: ClipHalf) -> tuple[Any, Any]:
    """Load from the local cache if possible, else from the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return half.load(hub_id, label, revision=revision, local_files_only=True)
    except (OSError, ValueError):
        pass  # not in the cache, or incomplete
    try:
        with quiet():  # One file shows whether the hub answers: each is requested six times.
            hf_hub_download(hub_id, "config.json", revision=revision)
        return half.load(hub_id, label, revision=revision)
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        causes = tuple(_causes(error))
        if any(isinstance(cause, HFValidationError) for cause in causes):
            raise UserError(label, "no hub id", half.kinds) from None
        if any(isinstance(c, RepositoryNotFoundError | RevisionNotFoundError) for c in causes):
            raise UserError(
                label,
                "the hub has no such repository or revision, or it is private",
                "Check both, or sign in with `hf auth login`",
            ) from None
        # The cause's own text may hold a signed URL, so only its kind is reported.
        raise WorldError(
            f"{label} is not in the local cache, and could not be had from the Hugging Face hub "
            f"({type(causes[-1]).__name__}). Download it where there is a network "
            f"(`hf download {hub_id}`, with HF_HOME at a folder that this machine sees), or "
            "point to a folder that holds it (clip:FOLDER)"
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
