"""The sizes in a CLIP model's config, checked against its weights before the model is built."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from models.errors import UserError, number_text
from models.files.json_text import parse_json
from models.files.regular_file import DamagedFile, read_small
from models.files.tensor_file import FLOATS, StoredTensor, stored_in

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_MOST_TEXT = 2**26  # bytes of a config, an index or a tokenizer
_MOST_TO_BUILD = 10  # times the weights of the files; which tensors lack is said later
_REMEDY = "Fetch config.json and the weights again, from one place"


def require_sizes(kind: Any, place: str, label: str, options: Mapping[str, Any]) -> None:
    """Check that the weights of a folder or a hub id are about as many as its config says.

    Nothing is allocated for what the config says. `kind` is a class of transformers' models, and
    `options` are those of its `from_pretrained`.

    Raises:
        UserError: They are far fewer, or no floats; a file is damaged or far too large.
        OSError: A file cannot be read or had from the hub.
    """
    try:
        read_small(_file(place, "config.json", options), _MOST_TEXT)
        stored = dict(_stored(place, label, options))
    except DamagedFile as error:
        raise UserError(label, f"damaged, or not CLIP ({error})", _REMEDY) from None
    config = kind.config_class.from_pretrained(place, **options)
    if problem := _misfit(kind, config, stored):
        raise UserError(label, problem, _REMEDY)


def require_finite(model: torch.nn.Module, label: str) -> None:
    """Raise UserError where a weight is NaN or infinite."""
    for name, weights in model.named_parameters():
        if not torch.isfinite(weights).all():
            raise UserError(label, f"its {name} holds NaN or infinity", "Fetch the weights again")


def require_small_texts(folder: Path, label: str) -> None:
    """Raise UserError for a JSON or text file of a folder that is far too large, or a device."""
    for path in sorted(folder.glob("*.*")):
        if path.suffix in (".json", ".txt") and path.exists():
            try:
                read_small(path, _MOST_TEXT)
            except DamagedFile as error:
                raise UserError(label, f"{path.name}: {error}", "Fetch it again") from None


def _stored(place: str, label: str, options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The tensors of all files of weights, which may be several."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    whole, index = WEIGHTS
    try:
        yield from stored_in(_file(place, whole, options)).items()
        return
    except (FileNotFoundError, EntryNotFoundError):
        pass
    try:
        content = read_small(_file(place, index, options), _MOST_TEXT)
        names = sorted(set(parse_json(content)["weight_map"].values()))
    except LocalEntryNotFoundError:
        raise
    except (FileNotFoundError, EntryNotFoundError):
        raise UserError(label, f"it has no {whole}", "Give a model with safetensors") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedFile(f"{index} is no index ({type(error).__name__})") from None
    for name in names:
        if Path(name).name != name:
            raise DamagedFile(f"{index} names files elsewhere")
        yield from stored_in(_file(place, name, options)).items()


def _file(place: str, name: str, options: Mapping[str, Any]) -> Path:
    """A file of a folder, or of a hub id, from which it is downloaded where it is not cached."""
    if Path(place).is_dir():
        return Path(place) / name
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(place, name, **options))


def _misfit(kind: Any, config: Any, stored: Mapping[str, StoredTensor]) -> str | None:
    """What is wrong with the sizes, or None."""
    if others := [n for n, t in stored.items() if t.dtype not in FLOATS and t.dtype != "I64"]:
        return f"its {others[0]} is {stored[others[0]].dtype}, not floating point"
    layers = config.num_hidden_layers
    if not isinstance(layers, int) or not 0 <= layers <= len(stored):
        return f"its config speaks of {layers!r:.30} layers, its weights have {len(stored)} tensors"
    try:
        with torch.device("meta"):
            model = kind(config)
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        reason = " ".join(str(error).split())[:150]
        return f"its config has sizes of which nothing can be built ({reason})"
    needed = sum(weights.numel() for weights in model.parameters())
    there = sum(tensor.count for tensor in stored.values())
    if needed > _MOST_TO_BUILD * there:
        return f"its config speaks of {number_text(needed)} weights, the files hold {there:,}"
    return None
