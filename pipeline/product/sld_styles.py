"""Layer styles by OGC's Styled Layer Descriptor 1.0 (SLD), for GeoServer and others."""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from models.vocabulary.vocabulary import Vocabulary
from pipeline.product.layer_colours import ColourStep, class_steps, layer_steps
from pipeline.product.layers import OutputLayer


def layer_sld(layer: OutputLayer, vocabulary: Vocabulary, title: str) -> str:
    """The SLD of a layer with a style: its classes, or a ramp. Other values are transparent."""
    if layer.style == "classes":
        return sld("values", class_steps(vocabulary), layer.name, title)
    return sld("ramp", layer_steps(layer), layer.name, title, layer.styled_band, layer.nodata)


def sld(
    kind: str,
    steps: Sequence[ColourStep],
    name: str,
    title: str,
    band: int = 1,
    nodata: int | None = None,
) -> str:
    """An SLD of the colours of one band.

    Args:
        kind: "values", or "ramp", which blends between the steps.
        steps: The colours.
        name: The layer's name.
        title: Its title.
        band: The band that is shown, from 1.
        nodata: The value that a ramp leaves out, though it lies beyond its numbers.
    """
    entries = "".join(
        f'              <ColorMapEntry color="{step.colour}" quantity="{step.number:g}" '
        f'opacity="1" label={quoteattr(step.label)}/>\n'
        for step in steps
    )
    if nodata is not None and nodata > steps[-1].number:
        # A ramp's last colour holds beyond it: the first number after it ends that.
        for number in sorted({steps[-1].number + 1, nodata}):
            entries += (
                f'              <ColorMapEntry color="#000000" quantity="{number:g}" '
                'opacity="0" label=""/>\n'
            )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<StyledLayerDescriptor version="1.0.0" xmlns="http://www.opengis.net/sld" '
        'xmlns:ogc="http://www.opengis.net/ogc">\n'
        "  <NamedLayer>\n"
        f"    <Name>{escape(name)}</Name>\n"
        "    <UserStyle>\n"
        f"      <Title>{escape(title)}</Title>\n"
        "      <FeatureTypeStyle>\n"
        "        <Rule>\n"
        "          <RasterSymbolizer>\n"
        "            <ChannelSelection><GrayChannel>"
        f"<SourceChannelName>{band}</SourceChannelName></GrayChannel></ChannelSelection>\n"
        f'            <ColorMap type="{kind}">\n'
        f"{entries}"
        "            </ColorMap>\n"
        "          </RasterSymbolizer>\n"
        "        </Rule>\n"
        "      </FeatureTypeStyle>\n"
        "    </UserStyle>\n"
        "  </NamedLayer>\n"
        "</StyledLayerDescriptor>\n"
    )
