from xml.etree import ElementTree

import pytest

from models.vocabulary.vocabulary import vocabulary_from_words
from pipeline.product.layers import (
    CLASS,
    CLEAR_OBSERVATIONS,
    CONFIDENCE,
    UNLIKE_TRAINING,
    OutputLayer,
)
from pipeline.product.sld_styles import layer_sld

_SLD = "{http://www.opengis.net/sld}"
VOCABULARY = vocabulary_from_words('lake & pond, "quoted" <wood>, Grünland')


def _colour_map(text: str) -> tuple[ElementTree.Element, str]:
    root = ElementTree.fromstring(text.encode())
    assert root.tag == f"{_SLD}StyledLayerDescriptor"
    (symbolizer,) = root.iter(f"{_SLD}RasterSymbolizer")
    band = symbolizer.findtext(f"{_SLD}ChannelSelection/{_SLD}GrayChannel/{_SLD}SourceChannelName")
    found = symbolizer.find(f"{_SLD}ColorMap")
    assert found is not None
    assert band is not None
    return found, band


def test_each_class_has_its_value_colour_and_name() -> None:
    colours, band = _colour_map(layer_sld(CLASS, VOCABULARY, "A & B"))
    assert (colours.get("type"), band) == ("values", "1")
    assert [(e.get("quantity"), e.get("color"), e.get("label")) for e in colours] == [
        (str(entry.value), entry.colour, entry.name) for entry in VOCABULARY.legend
    ]
    assert {entry.get("opacity") for entry in colours} == {"1"}


@pytest.mark.parametrize("layer", [CONFIDENCE, UNLIKE_TRAINING])
def test_a_ramp_ends_before_nodata(layer: OutputLayer) -> None:
    colours, _ = _colour_map(layer_sld(layer, VOCABULARY, "A"))
    assert colours.get("type") == "ramp"
    numbers = [float(entry.get("quantity", "nan")) for entry in colours]
    assert numbers == sorted(set(numbers))
    opacity = {float(e.get("quantity", "nan")): e.get("opacity") for e in colours}
    assert opacity[255] == "0"
    assert opacity[min(layer.limits[1], 254)] == "1"


def test_a_layer_of_many_bands_shows_its_styled_one() -> None:
    _, band = _colour_map(layer_sld(CLEAR_OBSERVATIONS, VOCABULARY, "A"))
    assert band == "7"
