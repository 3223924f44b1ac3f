"""The colours of a layer in a GIS, as steps of numbers: styles of all kinds are made of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.vocabulary.vocabulary import Vocabulary
from pipeline.product.layers import OutputLayer

CONFIDENCE_RAMP = (
    (0, "#440154"),
    (25, "#3b528b"),
    (50, "#21918c"),
    (75, "#5ec962"),
    (100, "#fde725"),
)
"""Percent → colour: viridis (Smith and van der Walt 2015), read by the colour-blind too."""

BEYOND_RAMP = (
    (0, "#f7fbff"),
    (50, "#c6dbef"),
    (100, "#4292c6"),
    (101, "#fdae61"),
    (150, "#d7301f"),
    (254, "#67000d"),
)
"""Percent → colour: blues up to 100, from there on the colours of fire."""


@dataclass(frozen=True)
class ColourStep:
    """A number of a raster, its colour "#rrggbb", and what a legend calls it."""

    number: float
    colour: str
    label: str


def class_steps(
    vocabulary: Vocabulary, colours: Mapping[int, str] | None = None
) -> list[ColourStep]:
    """The classes of a vocabulary; `colours` by their values, by default the vocabulary's."""
    return [
        ColourStep(entry.value, (colours or {}).get(entry.value, entry.colour), entry.name)
        for entry in vocabulary.legend
    ]


def layer_steps(layer: OutputLayer) -> list[ColourStep]:
    """The colours of a layer that has a ramp, the lowest number first; between them they blend."""
    unit = f" {layer.unit}" if layer.unit else ""
    if layer.style != "beyond-100":
        return ramp_steps(*layer.limits, lambda number: f"{number:g}{unit}")
    last = BEYOND_RAMP[-1][0]
    names = {101: f"101{unit} and more: unlike", last: f"{last}{unit} or more"}
    return [
        ColourStep(number, colour, names.get(number, f"{number:g}{unit}"))
        for number, colour in BEYOND_RAMP
    ]


def ramp_steps(low: float, high: float, label: Callable[[float], str]) -> list[ColourStep]:
    """`CONFIDENCE_RAMP` over the numbers from `low` to `high`."""
    numbers = [(low + (high - low) * percent / 100, colour) for percent, colour in CONFIDENCE_RAMP]
    return [ColourStep(number, colour, label(number)) for number, colour in numbers]
