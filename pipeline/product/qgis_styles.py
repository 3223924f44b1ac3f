"""QGIS layer styles; QGIS loads `class.qml` by itself with `class.vrt`."""

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from models.vocabulary.vocabulary import Vocabulary
from pipeline.product.layer_colours import ColourStep, class_steps, layer_steps, ramp_steps
from pipeline.product.layers import SIMILARITY_SCALE, WHITE, OutputLayer


def layer_style(layer: OutputLayer, vocabulary: Vocabulary) -> str:
    """QGIS's style of a layer: the vocabulary's colours, or a ramp over its limits."""
    return qgis_style(layer_renderer(layer, vocabulary))


def layer_renderer(layer: OutputLayer, vocabulary: Vocabulary) -> str:
    """QGIS's renderer of a layer: a palette, a ramp, or its three bands as colours."""
    if layer.style == "classes":
        return palette_renderer(class_steps(vocabulary))
    if layer.style is None:
        return _LIGHT
    return _ramp_renderer(layer_steps(layer), layer.styled_band)


def class_style(vocabulary: Vocabulary) -> str:
    """QGIS's layer style with a palette of the vocabulary's classes."""
    return qgis_style(palette_renderer(class_steps(vocabulary)))


def similarity_style(low: float, high: float) -> str:
    """QGIS's layer style with `CONFIDENCE_RAMP` over a similarity's numbers, `low` to `high`."""
    steps = ramp_steps(low, high, lambda number: f"{number / SIMILARITY_SCALE:.3f}")
    return qgis_style(_ramp_renderer(steps))


def palette_renderer(steps: Sequence[ColourStep], alpha_band: int | None = None) -> str:
    """QGIS's renderer of classes; the numbers 0 … 255 of `alpha_band` make them opaque."""
    entries = "".join(
        f'        <paletteEntry value="{step.number:g}" color="{step.colour}" alpha="255" '
        f"label={quoteattr(step.label)}/>\n"
        for step in steps
    )
    return (
        '    <rasterrenderer type="paletted" band="1" opacity="1" '
        f'alphaBand="{alpha_band or -1}" nodataColor="">\n'
        "      <rasterTransparency/>\n"
        f"      <colorPalette>\n{entries}      </colorPalette>\n"
        "    </rasterrenderer>\n"
    )


def _ramp_renderer(steps: Sequence[ColourStep], band: int = 1) -> str:
    """A renderer with the colours between these numbers and colours, the lowest number first."""
    items = "".join(
        f'            <item value="{step.number:g}" color="{step.colour}" alpha="255" '
        f"label={quoteattr(step.label)}/>\n"
        for step in steps
    )
    least, most = f"{steps[0].number:g}", f"{steps[-1].number:g}"
    return (
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


_WHITE = "".join(
    f"      <{colour}ContrastEnhancement><minValue>0</minValue><maxValue>{WHITE}</maxValue>"
    f"<algorithm>StretchToMinimumMaximum</algorithm></{colour}ContrastEnhancement>\n"
    for colour in ("red", "green", "blue")
)
_LIGHT = (
    '    <rasterrenderer type="multibandcolor" redBand="1" greenBand="2" blueBand="3" '
    'opacity="1" alphaBand="-1" nodataColor="">\n'
    f"      <rasterTransparency/>\n{_WHITE}"
    "    </rasterrenderer>\n"
)


def qgis_pipe(renderer: str) -> str:
    """How QGIS draws a raster, as layer styles and projects have it."""
    return (
        "  <pipe>\n"
        f"{renderer}"
        '    <brightnesscontrast brightness="0" contrast="0" gamma="1"/>\n'
        '    <huesaturation saturation="0" grayscaleMode="0" colorizeOn="0"/>\n'
        '    <rasterresampler maxOversampling="2"/>\n'
        "  </pipe>\n"
        "  <blendMode>0</blendMode>\n"
    )


def qgis_style(renderer: str) -> str:
    """A QGIS layer style (QML) of a renderer."""
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.22.0" styleCategories="AllStyleCategories">\n'
        f"{qgis_pipe(renderer)}"
        "</qgis>\n"
    )
