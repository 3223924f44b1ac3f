"""QGIS layer styles; QGIS loads `class.qml` by itself with `class.vrt`."""

from collections.abc import Callable, Sequence
from xml.sax.saxutils import quoteattr

from models.vocabulary.vocabulary import Vocabulary
from pipeline.io.store import Store
from pipeline.product.layers import CELL_LAYERS, SIMILARITY_SCALE, OutputLayer
from pipeline.product.manifest import RunManifest

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


def write_styles(store: Store, run: RunManifest, vocabulary: Vocabulary) -> None:
    """Write the style of each mosaic of a run, such as `class.qml`."""
    for layer in CELL_LAYERS:
        if layer.mosaic and layer.style and layer.written(run):
            store.write(layer.style_file, layer_style(layer, vocabulary).encode())


def layer_style(layer: OutputLayer, vocabulary: Vocabulary) -> str:
    """QGIS's style of a layer: the vocabulary's colours, or a ramp over its limits."""
    if layer.style == "classes":
        return class_style(vocabulary)
    band = layer.styled_band
    unit = f" {layer.unit}" if layer.unit else ""
    if layer.style == "beyond-100":
        beyond = f"101{unit} and more: unlike"
        names = {101: beyond, BEYOND_RAMP[-1][0]: f"{BEYOND_RAMP[-1][0]}{unit} or more"}
        return _steps_style(
            BEYOND_RAMP, lambda number: names.get(int(number), f"{number:g}{unit}"), band
        )
    return _ramp_style(*layer.limits, lambda number: f"{number:g}{unit}", band)


def class_style(vocabulary: Vocabulary) -> str:
    """QGIS's layer style with a palette of the vocabulary's classes."""
    entries = "".join(
        f'        <paletteEntry value="{entry.value}" color="{entry.colour}" alpha="255" '
        f"label={quoteattr(entry.name)}/>\n"
        for entry in vocabulary.legend
    )
    return _style(
        '    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" '
        'nodataColor="">\n'
        "      <rasterTransparency/>\n"
        f"      <colorPalette>\n{entries}      </colorPalette>\n"
        "    </rasterrenderer>\n"
    )


def similarity_style(low: float, high: float) -> str:
    """QGIS's layer style with `CONFIDENCE_RAMP` over a similarity's numbers, `low` to `high`."""
    return _ramp_style(low, high, lambda number: f"{number / SIMILARITY_SCALE:.3f}")


def _ramp_style(low: float, high: float, label: Callable[[float], str], band: int = 1) -> str:
    """A style with `CONFIDENCE_RAMP` over the numbers from `low` to `high`."""
    steps = [(low + (high - low) * percent / 100, colour) for percent, colour in CONFIDENCE_RAMP]
    return _steps_style(steps, label, band)


def _steps_style(
    steps: Sequence[tuple[float, str]], label: Callable[[float], str], band: int
) -> str:
    """A style with the colours between these numbers and colours, the lowest number first."""
    items = "".join(
        f'            <item value="{number:g}" color="{colour}" alpha="255" '
        f'label="{label(number)}"/>\n'
        for number, colour in steps
    )
    least, most = f"{steps[0][0]:g}", f"{steps[-1][0]:g}"
    return _style(
        f'    <rasterrenderer type="singlebandpseudocolor" band="{band}" opacity="1" '
        'alphaBand="-1" '
        f'classificationMin="{least}" classificationMax="{most}" nodataColor="">\n'
        "      <rasterTransparency/>\n"
        "      <rastershader>\n"
        '        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" '
        f'minimumValue="{least}" maximumValue="{most}" labelPrecision="0">\n'
        f"{items}"
        "        </colorrampshader>\n"
        "      </rastershader>\n"
        "    </rasterrenderer>\n"
    )


def _style(renderer: str) -> str:
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.22.0" styleCategories="AllStyleCategories">\n'
        "  <pipe>\n"
        f"{renderer}"
        '    <brightnesscontrast brightness="0" contrast="0" gamma="1"/>\n'
        '    <huesaturation saturation="0" grayscaleMode="0" colorizeOn="0"/>\n'
        '    <rasterresampler maxOversampling="2"/>\n'
        "  </pipe>\n"
        "  <blendMode>0</blendMode>\n"
        "</qgis>\n"
    )
