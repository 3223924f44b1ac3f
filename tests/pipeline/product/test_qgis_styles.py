from xml.etree import ElementTree

import pytest

from models.vocabulary.vocabulary import make_vocabulary
from pipeline.product.layer_colours import CONFIDENCE_RAMP
from pipeline.product.layers import (
    CLEAR_MONTHS,
    CLEAR_OBSERVATIONS,
    CONFIDENCE,
    TOP_CLASSES,
    OutputLayer,
)
from pipeline.product.qgis_styles import class_style, layer_style

NAMES = ["lake & pond", '"quoted" <wood>', "Grünland"]
VOCABULARY = make_vocabulary(
    {
        "name": "n",
        "title": "t",
        "source": "s",
        "licence": "l",
        "classes": [{"name": name, "value": 300 * i + 1} for i, name in enumerate(NAMES)],
    },
    "test",
)


def test_class_style_has_every_class_with_its_colour() -> None:
    root = ElementTree.fromstring(class_style(VOCABULARY))
    renderer = root.find("pipe/rasterrenderer")
    assert renderer is not None
    assert renderer.attrib["type"] == "paletted"
    entries = renderer.findall("colorPalette/paletteEntry")
    assert [(e.get("label"), e.get("color"), e.get("value")) for e in entries] == [
        (entry.name, entry.colour, str(entry.value)) for entry in VOCABULARY.classes
    ]


def test_confidence_style_is_a_ramp_over_percent() -> None:
    root = ElementTree.fromstring(layer_style(CONFIDENCE, VOCABULARY))
    shader = root.find("pipe/rasterrenderer/rastershader/colorrampshader")
    assert shader is not None
    items = [(int(i.attrib["value"]), i.attrib["color"]) for i in shader.findall("item")]
    assert items == list(CONFIDENCE_RAMP)
    assert items[0][0] == 0
    assert items[-1][0] == 100


@pytest.mark.parametrize(
    ("layer", "kind", "band", "most"),
    [
        (CLEAR_OBSERVATIONS, "singlebandpseudocolor", "7", "6"),
        (CLEAR_MONTHS, "singlebandpseudocolor", "1", "12"),
        (TOP_CLASSES, "paletted", "1", None),
    ],
)
def test_rasters_of_many_bands_show_one_of_them(
    layer: OutputLayer, kind: str, band: str, most: str | None
) -> None:
    renderer = ElementTree.fromstring(layer_style(layer, VOCABULARY)).find("pipe/rasterrenderer")
    assert renderer is not None
    assert (renderer.attrib["type"], renderer.attrib["band"]) == (kind, band)
    assert renderer.attrib.get("classificationMax") == most
