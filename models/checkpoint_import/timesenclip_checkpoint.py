"""The authors' checkpoints: an encoder's tensors, read from a `.ckpt` without running any of it."""

import argparse
import hashlib
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from models.errors import CheckpointError, WorldError
from models.files.regular_file import DamagedFile, sized_file
from models.files.tensor_file import MOST_TENSORS
from models.option import user_path

PREFIXES = ("learner.TS_ViT.", "learner.ts_encoder.", "TS_ViT.", "")
"""Where the encoder lies in a state dict of the authors' code; the trained one goes first."""

_MARKS = ("spectral_embedding.1.weight", "time_pos_encoding")  # names that no other model has
_PARTS = {"spectral_embedding", "time_pos_encoding", "class_token", "transformer", "mlp_head"}
_KNOWN = {
    "queue",
    "queue_ptr",
    "pooling_layer",
    "logit_scale",
    "clip_model",
    "TS_ViT",
    "ts_encoder",
}
_MOST_NAMES = 8
_MOST_FILES = 2 * MOST_TENSORS
_MOST_GROWTH = 10  # TorchScript compresses texts
_MOST_PICKLE = 2**26  # bytes


@dataclass(frozen=True, eq=False)
class AuthorsCheckpoint:
    """The encoder in a file of the authors' training.

    Attributes:
        source: The file's path.
        tensors: By the names of the encoder's own state dict.
        prefix: The prefix of their names in the file.
        copies: Other prefixes with the same tensors.
        left_out: Counts of the file's other tensors, by the part of the model that has them.
        unknown: The parts among these that the authors' code is not known to write.
        log_scale: The logarithm of the learned multiplier of the cosine.
        channels: The bands that the training's settings name.
        origin: The file's SHA-256, and the epoch and step of the training.
    """

    source: str
    tensors: Mapping[str, torch.Tensor]
    prefix: str
    copies: tuple[str, ...]
    left_out: Mapping[str, int]
    unknown: tuple[str, ...]
    log_scale: float | None
    channels: tuple[str, ...]
    origin: Mapping[str, str | int]


def read_authors_checkpoint(path: str | Path, prefix: str | None = None) -> AuthorsCheckpoint:
    """Read the encoder in a Lightning `.ckpt`, or in a plain state dict that torch.save wrote.

    `prefix` is that of the encoder's names in the state dict; without it, one of `PREFIXES`.

    Raises:
        CheckpointError: The file is damaged, holds anything but tensors and plain values, or has
            no encoder, or several that differ.
        WorldError: The disk fails.
    """
    path = user_path(path)
    where = str(path)
    content, digest = _read(path)
    state = _state_dict(content, where)
    chosen, copies = _choose(state, prefix, where)
    own = _under(chosen, state)
    _require_stored([state[name] for name in own], path)
    # The part of the model that has a tensor: learner.pooling_layer, clip_model.
    groups = Counter(
        ".".join(name.split(".")[: 2 if name.startswith("learner.") else 1])
        for name in state
        if name not in own
    )
    unknown = tuple(name for name in groups if name.split(".")[-1] not in _KNOWN)
    settings = content if "state_dict" in content else {}
    counts = {key: settings.get(key) for key in ("epoch", "global_step")}
    return AuthorsCheckpoint(
        source=where,
        tensors={
            # Cloned, since tensors that share memory cannot be saved as safetensors.
            name.removeprefix(chosen): state[name].detach().contiguous().clone()
            for name in own
        },
        prefix=chosen,
        copies=copies,
        left_out=groups,
        unknown=unknown,
        log_scale=_log_scale(state),
        channels=_channels(settings),
        origin={"sha256": digest} | {k: n for k, n in counts.items() if type(n) is int},
    )


def prefix_text(prefix: str) -> str:
    """A prefix in words."""
    return prefix or "no prefix"


def _read(path: Path) -> tuple[Any, str]:
    """The file's content, and its SHA-256."""
    try:
        with sized_file(path) as (file, size):
            _require_whole(file, size, str(path))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return _load(file, str(path)), digest
    except DamagedFile as error:
        raise CheckpointError(str(path), str(error), "Give MODEL.ckpt itself") from None
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CheckpointError(
            str(path), "no such file", "Give the file that the training wrote, MODEL.ckpt"
        ) from error
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error


def _require_whole(file: IO[bytes], size: int, where: str) -> None:
    """torch.load itself does not notice bits that changed: the archive's checksums do.

    torch.save compresses no tensors, so a file that would grow when it is read is not its own.
    """
    problem = None
    if not zipfile.is_zipfile(file):
        problem = "cut off, or nothing that torch.save writes"
    else:
        try:
            with zipfile.ZipFile(file) as archive:
                if problem := _not_torchs(archive.infolist(), size):
                    pass
                elif damaged := archive.testzip():
                    problem = f"damaged: {damaged!a} is not what its checksum says"
        except OSError:
            raise
        except Exception as error:  # zipfile and zlib raise many kinds
            problem = f"damaged ({type(error).__name__})"
    if problem:
        raise CheckpointError(
            where, problem, "Fetch it again; save files older than PyTorch 1.6 anew with torch.save"
        )


def _not_torchs(files: Sequence[zipfile.ZipInfo], size: int) -> str | None:
    """Why torch.save cannot have written an archive of so many bytes, or None."""
    if len(files) > _MOST_FILES:
        return f"an archive of {len(files):,} files, where {_MOST_FILES:,} are allowed"
    if (whole := sum(one.file_size for one in files)) > _MOST_GROWTH * size:
        return f"an archive of {size:,} bytes that grows to {whole:,}; torch.save writes none"
    if any(one.file_size > _MOST_PICKLE for one in files if one.filename.endswith("/data.pkl")):
        return f"an archive with more than {_MOST_PICKLE:,} bytes of names"
    return None


def _require_stored(tensors: Sequence[torch.Tensor], path: Path) -> None:
    """Raise CheckpointError for tensors that share so much that copies are larger than the file."""
    copied, size = sum(tensor.nbytes for tensor in tensors), path.stat().st_size
    if copied > size or len(tensors) > MOST_TENSORS:
        raise CheckpointError(
            str(path),
            f"its encoder is {len(tensors):,} tensors of {copied:,} bytes, in a file of {size:,}",
            "Save dense tensors that share no memory",
        )


def _load(file: IO[bytes], where: str) -> Any:
    # Lightning keeps the authors' command line in every file, as a Namespace, which runs no code.
    # Any other class is refused.
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error says all
        try:
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a malicious file may raise anything
            if not (refused := _refused_names(file)):
                raise CheckpointError(
                    where,
                    f"nothing that can be read without running it ({type(error).__name__})",
                    "Fetch it again, or save its state dict alone with torch.save",
                ) from error
            raise CheckpointError(
                where,
                f"holds more than tensors ({', '.join(refused)}), and reading that could run "
                "any program, which timesen never does; nothing was run",
                "If you trust it as much as a program, save its tensors alone, where the program "
                'that wrote it is installed: torch.save(torch.load("MODEL.ckpt", '
                'map_location="cpu", weights_only=False)["state_dict"], "weights.pt"); then import '
                "weights.pt",
            ) from error


def _refused_names(file: IO[bytes]) -> list[str]:
    """The names in the pickle that are not allowed, found without running it."""
    try:
        file.seek(0)
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # as above
        return []
    return [ascii(name)[1:-1][:80] for name in names[:_MOST_NAMES]]


def _state_dict(content: Any, where: str) -> dict[str, torch.Tensor]:
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not any(
        isinstance(tensor, torch.Tensor) for tensor in state.values()
    ):
        raise CheckpointError(
            where, "no state dict in it", "Give a Lightning .ckpt, or a state dict by torch.save"
        )
    if not all(isinstance(name, str) and name.isprintable() for name in state):
        raise CheckpointError(
            where, "its state dict has names that are no names", "Fetch the file again"
        )
    tensors = {name: t for name, t in state.items() if isinstance(t, torch.Tensor)}
    if hollow := [name for name, tensor in tensors.items() if not _is_dense(tensor)]:
        raise CheckpointError(
            where, f"not all values are stored of {_first_names(hollow)}", "Save dense tensors"
        )
    return tensors


def _is_dense(tensor: torch.Tensor) -> bool:
    stored = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return stored and tensor.numel() * tensor.itemsize <= tensor.untyped_storage().nbytes()


def _choose(
    state: Mapping[str, torch.Tensor], prefix: str | None, where: str
) -> tuple[str, tuple[str, ...]]:
    """The prefix of the encoder, and those under which the same tensors lie once more."""
    if prefix is not None:
        prefix = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
        if not _has_encoder(prefix, state):
            raise _no_encoder(where, f"no encoder under {prefix_text(prefix)}", state)
        return prefix, ()
    candidates = [known for known in PREFIXES if _has_encoder(known, state)]
    if not candidates:
        raise _no_encoder(where, "no TimeSenCLIP encoder where the authors' code puts it", state)
    first, *others = candidates
    if any(not _same(first, other, state) for other in others):
        raise CheckpointError(
            where,
            f"holds encoders that differ, under {' and '.join(map(prefix_text, candidates))}",
            "Choose one by its prefix; the authors' code trains the one under "
            "learner., and TS_ViT. is its copy of the last validation",
        )
    return first, tuple(others)


def _has_encoder(prefix: str, state: Mapping[str, torch.Tensor]) -> bool:
    return any(prefix + mark in state for mark in _MARKS)


def _no_encoder(where: str, problem: str, state: Mapping[str, torch.Tensor]) -> CheckpointError:
    places = {name.removesuffix(mark) for name in state for mark in _MARKS if name.endswith(mark)}
    remedy = f"One may be under {', '.join(map(prefix_text, sorted(places)))}: give its prefix"
    if not places:
        remedy = f"It would hold {' and '.join(_MARKS)}; it holds {_first_names(state)}"
    return CheckpointError(where, problem, remedy)


def _first_names(names: Iterable[str]) -> str:
    every = sorted(names)
    more = f" and {len(every) - _MOST_NAMES} more" if len(every) > _MOST_NAMES else ""
    return ", ".join(every[:_MOST_NAMES]) + more


def _under(prefix: str, state: Mapping[str, torch.Tensor]) -> dict[str, None]:
    """The names of the encoder's tensors, in the file's order; without a prefix, by their names."""
    if prefix:
        return {name: None for name in state if name.startswith(prefix)}
    return {name: None for name in state if name.partition(".")[0] in _PARTS}


def _same(one: str, other: str, state: Mapping[str, torch.Tensor]) -> bool:
    first, second = (
        {name.removeprefix(prefix): state[name] for name in _under(prefix, state)}
        for prefix in (one, other)
    )
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name])
        for name in first
    )


def _log_scale(state: Mapping[str, torch.Tensor]) -> float | None:
    for name in ("logit_scale", "learner.logit_scale"):  # not clip_model's, which is CLIP's own
        if name in state and state[name].numel() == 1 and state[name].is_floating_point():
            return float(state[name])
    return None


def _channels(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The bands in the training's settings, which need not be in the order of its input."""
    settings = content.get("hyper_parameters")
    if isinstance(settings, Mapping):
        settings = settings.get("args", settings)
    if isinstance(settings, argparse.Namespace):
        settings = vars(settings)
    channels = settings.get("channels") if isinstance(settings, Mapping) else None
    named = isinstance(channels, list | tuple) and all(
        isinstance(band, str) and band.isalnum() for band in channels
    )
    return tuple(channels) if named and channels else ()
