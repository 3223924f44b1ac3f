"""The card of an imported encoder: from the user's card, the tensors, and the authors' defaults."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.checkpoint_import.timesenclip_checkpoint import AuthorsCheckpoint
from models.encoder.card import MOST_CARD_BYTES, Card, parse_card
from models.encoder.preprocessing import AUTHORS, BANDS
from models.encoder.timesenclip import TimeSenClipArchitecture
from models.errors import CheckpointError, WorldError
from models.files.json_text import parse_json
from models.files.regular_file import DamagedFile, read_small
from models.option import user_path

ORDERS = (",".join(BANDS), ",".join((BANDS[2], BANDS[1], BANDS[0], *BANDS[3:])))
"""The two orders of bands that occur in the authors' code."""

_TOWER, _TOWER_DIM = "clip:openai/clip-vit-base-patch32", 512
_TEMPERATURE = 0.07
_HEAD_DIM = 64
_LOG_SCALES = (0.0, 4.6053)  # the authors clamp to 0 … ln 100


def read_partial_card(path: str | Path) -> dict[str, Any]:
    """Read the fields of a card, whole or in part.

    Raises:
        CheckpointError: The file is missing, or no JSON object.
        WorldError: It cannot be read.
    """
    path = user_path(path)
    try:
        fields = parse_json(read_small(path, MOST_CARD_BYTES))
    except DamagedFile as error:
        raise CheckpointError(str(path), str(error), "Give a card.json") from None
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CheckpointError(str(path), "no such file", "Give a card.json") from error
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(str(path), f"no JSON ({error})", "Correct the card") from None
    if not isinstance(fields, dict):
        raise CheckpointError(str(path), "no card: a card is an object", "Write { … } around it")
    return fields


def imported_card(
    source: AuthorsCheckpoint,
    name: str,
    partial: Mapping[str, Any],
    bands: Sequence[str] | None = None,
) -> tuple[Card, dict[str, str]]:
    """Make the card of an imported encoder.

    Args:
        source: The encoder's tensors.
        name: The checkpoint's name.
        partial: The user's fields of a card, which have priority, field by field.
        bands: The order in which the encoder takes the bands. No tensor shows it, so it must be
            here or in `partial`.

    Returns:
        The card, and the fields that are assumed, each with the reason.

    Raises:
        CheckpointError: A field can neither be found nor assumed, or `partial` is no part of a
            card.
    """
    where = f"the card for {source.source}"
    order = _order(source, partial, bands, where)
    assumed: dict[str, str] = {}
    card: dict[str, Any] = {
        "name": name,
        "description": "Imported from a checkpoint of the TimeSenCLIP authors' training.",
        "demonstration": False,
        "architecture": _architecture(source),
        "preprocessing": _preprocessing(order),
        "training": dict(source.origin),
        "metrics": {},
    }
    sizes = card["architecture"]
    if "heads" not in _section(partial, "architecture"):
        if sizes["dim"] % _HEAD_DIM or not sizes["dim"]:
            raise _unknown(
                where,
                "the number of heads",
                f"a width of {sizes['dim']} is no multiple of the paper's {_HEAD_DIM} per head",
                "architecture.heads",
            )
        sizes["heads"] = sizes["dim"] // _HEAD_DIM
        assumed["architecture"] = f"heads {sizes['heads']}, {_HEAD_DIM} of the width to each"
    known = {"bands", "months", "optional_bands", *_section(partial, "preprocessing")}
    if authors := [field for field in card["preprocessing"] if field not in known]:
        assumed["preprocessing"] = f"{', '.join(authors)} as the authors'"
    if "text_tower" not in partial:
        if (dim := sizes["embedding_dim"]) != _TOWER_DIM:
            problem = f"the authors' has {_TOWER_DIM} dimensions, the encoder {dim}"
            raise _unknown(where, "the text tower", problem, "text_tower")
        card["text_tower"] = _TOWER
        assumed["text_tower"] = f"{_TOWER}, the authors'"
    if "logit_scale" not in partial:
        card["logit_scale"], reason = _logit_scale(source.log_scale, where)
        assumed["logit_scale"] = f"{card['logit_scale']:.4g}, {reason}"
    if "licence" not in partial:
        card["licence"] = assumed["licence"] = "not stated"
    for field, value in partial.items():
        is_section = isinstance(value, dict) and isinstance(card.get(field), dict)
        card[field] = card[field] | value if is_section else value
    return parse_card(json.dumps(card).encode(), where), assumed


def _order(
    source: AuthorsCheckpoint, partial: Mapping[str, Any], bands: Sequence[str] | None, where: str
) -> list[Any]:
    in_card = _section(partial, "preprocessing").get("bands")
    if in_card is not None and bands is not None and list(bands) != in_card:
        raise CheckpointError(
            where, f"states bands {in_card}, and {','.join(bands)} are given as well", "Give one"
        )
    if in_card is not None:
        return in_card if isinstance(in_card, list) else []
    if bands is not None:
        return list(bands)
    channels = ", ".join(source.channels)
    named = f" (the training's settings name {channels})" if channels else ""
    raise CheckpointError(
        where,
        f"does not state in which order the encoder takes the bands, and no tensor shows it{named}",
        f"Ask whoever trained it; in the authors' code occur {ORDERS[0]} and {ORDERS[1]}",
    )


def _architecture(source: AuthorsCheckpoint) -> dict[str, Any]:
    """The sizes by the tensors' shapes; where tensors are missing, the paper's.

    The missing tensors are reported when the encoder is made.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in source.tensors.items()}
    sizes: dict[str, Any] = dict(vars(TimeSenClipArchitecture()))
    for name, axes in {
        "spectral_embedding.1.weight": ("dim", "bands"),
        "time_pos_encoding": (None, "months", None),
        "transformer.layers.0.linear1.weight": ("feedforward", None),
        "mlp_head.1.weight": ("embedding_dim", None),
    }.items():
        if len(shapes.get(name, ())) == len(axes):
            sizes |= {axis: n for axis, n in zip(axes, shapes[name], strict=True) if axis}
    layers = {name.split(".")[2] for name in shapes if name.startswith("transformer.layers.")}
    return sizes | ({"depth": len(layers)} if layers else {})


def _preprocessing(order: list[Any]) -> dict[str, Any]:
    """The authors' constants in the order of the bands; `parse_card` reports unknown bands."""
    places = [BANDS.index(band) for band in order if band in BANDS]
    return vars(AUTHORS) | {
        "bands": order,
        "low": [AUTHORS.low[place] for place in places],
        "high": [AUTHORS.high[place] for place in places],
    }


def _logit_scale(log_scale: float | None, where: str) -> tuple[float, str]:
    if log_scale is None:
        return 1 / _TEMPERATURE, f"of the paper's temperature of {_TEMPERATURE}"
    if not _LOG_SCALES[0] <= log_scale <= _LOG_SCALES[1]:
        problem = f"the learned one, {log_scale:.4g}, is no logarithm between 0 and ln 100"
        raise _unknown(where, "logit_scale", problem, "logit_scale")
    return math.exp(log_scale), "learned"


def _unknown(where: str, what: str, problem: str, field: str) -> CheckpointError:
    return CheckpointError(
        where, f"does not state {what}, and {problem}", f"State {field} in a card"
    )


def _section(partial: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = partial.get(name)
    return section if isinstance(section, dict) else {}
