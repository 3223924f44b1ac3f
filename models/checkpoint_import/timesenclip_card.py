"""The card of an imported encoder: what the user states, what tensors show, what authors do."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.checkpoint_import.timesenclip_checkpoint import AuthorsCheckpoint
from models.encoder.card import Card, parse_card
from models.encoder.preprocessing import AUTHORS, BANDS
from models.encoder.timesenclip import TimeSenClipArchitecture
from models.errors import CheckpointError, WorldError

ORDERS = (",".join(BANDS), ",".join((BANDS[2], BANDS[1], BANDS[0], *BANDS[3:])))
"""The two orders of bands that occur in the authors' code."""

_TOWER, _TOWER_DIM = "clip:openai/clip-vit-base-patch32", 512
_TEMPERATURE = 0.07
_HEAD_DIM = 64
_LOG_SCALES = (0.0, 4.6053)  # the authors clamp to 0 … ln 100


def read_stated(path: str | Path) -> dict[str, Any]:
    """What a card states, whole or in part; raises CheckpointError where it is no JSON object."""
    path = Path(path).expanduser()
    try:
        stated = json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CheckpointError(str(path), "no such file", "Give a card.json") from error
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(str(path), f"no JSON ({error})", "Correct the card") from None
    if not isinstance(stated, dict):
        raise CheckpointError(str(path), "no card: a card is an object", "Write { … } around it")
    return stated


def card_of(
    found: AuthorsCheckpoint,
    name: str,
    stated: Mapping[str, Any],
    bands: Sequence[str] | None = None,
) -> tuple[Card, dict[str, str]]:
    """The card of what was found, and of each field that was assumed, on what grounds.

    `stated` goes before everything, field by field. `bands`, the order in which the encoder takes
    the bands, must be in it or be given, since no tensor shows it. Raises CheckpointError where
    that or another thing that cannot be known is stated nowhere, or where `stated` is no part of
    a card.
    """
    where = f"the card for {found.source}"
    order = _order(found, stated, bands, where)
    assumed: dict[str, str] = {}
    card: dict[str, Any] = {
        "name": name,
        "description": "Imported from a checkpoint of the TimeSenCLIP authors' training.",
        "demonstration": False,
        "architecture": _architecture(found),
        "preprocessing": _preprocessing(order),
        "training": dict(found.origin),
        "metrics": {},
    }
    _assume_heads(card["architecture"], _section(stated, "architecture"), assumed, where)
    if left := [
        key
        for key in card["preprocessing"]
        if key not in _section(stated, "preprocessing") and key not in ("bands", "months")
    ]:
        assumed["preprocessing"] = f"{', '.join(left)} as the authors'"
    if "text_tower" not in stated:
        card["text_tower"] = _tower(card["architecture"]["embedding_dim"], where)
        assumed["text_tower"] = f"{_TOWER}, the authors'"
    if "logit_scale" not in stated:
        card["logit_scale"], grounds = _logit_scale(found.log_scale, where)
        assumed["logit_scale"] = f"{card['logit_scale']:.4g}, {grounds}"
    if "licence" not in stated:
        card["licence"] = assumed["licence"] = "not stated"
    return parse_card(json.dumps(_laid_over(card, stated)).encode(), where), assumed


def _order(
    found: AuthorsCheckpoint,
    stated: Mapping[str, Any],
    bands: Sequence[str] | None,
    where: str,
) -> list[Any]:
    in_card = _section(stated, "preprocessing").get("bands")
    if in_card is not None and bands is not None and list(bands) != in_card:
        raise CheckpointError(
            where, f"states bands {in_card}, beside which {','.join(bands)} is given", "Say one"
        )
    if in_card is not None:
        return in_card if isinstance(in_card, list) else []
    if bands is not None:
        return list(bands)
    named = f" (the training's settings name {', '.join(found.channels)})" if found.channels else ""
    raise CheckpointError(
        where,
        f"does not state in which order the encoder takes the bands, and no tensor shows it{named}",
        f"Ask whoever trained it; in the authors' code occur {ORDERS[0]} and {ORDERS[1]}",
    )


def _architecture(found: AuthorsCheckpoint) -> dict[str, Any]:
    """The sizes that shapes show; those of tensors that are missing stay the paper's.

    Which are missing is told when the encoder is made.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in found.tensors.items()}
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


def _assume_heads(
    sizes: dict[str, Any], stated: Mapping[str, Any], assumed: dict[str, str], where: str
) -> None:
    if "heads" in stated:
        return
    if sizes["dim"] % _HEAD_DIM or not sizes["dim"]:
        raise CheckpointError(
            where,
            f"does not state the number of heads, and a width of {sizes['dim']} is no multiple "
            f"of the paper's {_HEAD_DIM} a head",
            "State architecture.heads in a card",
        )
    sizes["heads"] = sizes["dim"] // _HEAD_DIM
    assumed["architecture"] = f"heads {sizes['heads']}, {_HEAD_DIM} of the width to each"


def _preprocessing(order: list[Any]) -> dict[str, Any]:
    """The authors', each band's constants at the band's place; of unknown bands the card tells."""
    places = [BANDS.index(band) for band in order if band in BANDS]
    return vars(AUTHORS) | {
        "bands": order,
        "low": [AUTHORS.low[place] for place in places],
        "high": [AUTHORS.high[place] for place in places],
    }


def _tower(embedding_dim: int, where: str) -> str:
    if embedding_dim != _TOWER_DIM:
        raise CheckpointError(
            where,
            f"does not state the text tower, and the authors' has {_TOWER_DIM} dimensions, the "
            f"encoder {embedding_dim}",
            "State text_tower in a card",
        )
    return _TOWER


def _logit_scale(log_scale: float | None, where: str) -> tuple[float, str]:
    if log_scale is None:
        return 1 / _TEMPERATURE, f"of the paper's temperature of {_TEMPERATURE}"
    if not _LOG_SCALES[0] <= log_scale <= _LOG_SCALES[1]:
        raise CheckpointError(
            where,
            f"does not state logit_scale, and the learned one, {log_scale:.4g}, is no logarithm "
            "between 0 and ln 100",
            "State logit_scale in a card",
        )
    return math.exp(log_scale), "learned"


def _section(stated: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = stated.get(name)
    return section if isinstance(section, dict) else {}


def _laid_over(card: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """The card with what is stated in place of its own, field by field of each section."""
    laid = dict(card) | dict(stated)
    for name in card.keys() & stated.keys():
        if isinstance(card[name], dict) and isinstance(stated[name], dict):
            laid[name] = card[name] | stated[name]
    return laid
