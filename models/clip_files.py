"""CLIP models as files: in a folder, or from the Hugging Face hub, whichever half is wanted."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from models.errors import UserError, WorldError

T = TypeVar("T")

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def clip_of_folder(
    folder: Path, spec: str, needed: Mapping[str, Sequence[str]], load: Callable[..., T]
) -> T:
    """What `load(place, spec, **choice)` makes of a folder.

    `needed` are the files that must be there, by what they are: one of several each. Raises
    UserError where they are not, or make no CLIP.
    """
    remedy = "Save both with transformers' save_pretrained, the weights as safetensors"
    lacking = [
        name
        for name, files in needed.items()
        if not any((folder / file).is_file() for file in files)
    ]
    if lacking:
        raise UserError(spec, f"the folder has no {', no '.join(lacking)}", remedy)
    try:
        return load(str(folder), spec, local_files_only=True)
    except UserError:
        raise
    except Exception as error:  # transformers and tokenizers raise many kinds
        raise UserError(spec, f"damaged, or not CLIP ({type(error).__name__})", remedy) from error


def clip_of_hub(
    hub_id: str, revision: str | None, spec: str, kinds: str, load: Callable[..., T]
) -> T:
    """What `load(place, spec, **choice)` makes of a hub id, from the local cache where it is there.

    `kinds` says which specs there are. Raises UserError for what the hub has not, WorldError where
    it cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return load(hub_id, spec, revision=revision, local_files_only=True)
    except (OSError, ValueError):
        pass  # not in the cache, or not whole
    try:
        with quiet():  # One file tells whether the hub answers: each is asked for six times.
            hf_hub_download(hub_id, "config.json", revision=revision)
        return load(hub_id, spec, revision=revision)
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        causes = tuple(_causes(error))
        if any(isinstance(cause, HFValidationError) for cause in causes):
            raise UserError(spec, "no hub id", kinds) from None
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


def commit_in_cache(hub_id: str, revision: str | None) -> str | None:
    """The commit of a hub id's files in the local cache; None where they are not there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(hub_id, "config.json", revision=revision)  # …/COMMIT/config.json
    return Path(path).parent.name if isinstance(path, str) else None


def weights_hash(model: torch.nn.Module) -> str:
    """Which weights a model has: "sha256:" and 16 digits."""
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


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
