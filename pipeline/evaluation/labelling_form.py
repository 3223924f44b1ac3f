"""The style of a layer of points to label: QGIS's form with the classes to choose from."""

from collections.abc import Sequence
from xml.etree import ElementTree

_NULL = "{2839923C-8B7D-419E-B84B-CA2FE9B80EC7}"
"""By which a value map of QGIS stands for an empty value (`QgsValueMapFieldFormatter`)."""


def labelling_style(classes: Sequence[str], label: str, read_only: Sequence[str]) -> str:
    """QGIS's style (QML) of points whose label is chosen from a list.

    Points without a label are shown as empty circles, labelled ones are filled.

    Args:
        classes: The labels to choose from.
        label: The column of the label.
        read_only: The columns that the form shows, but does not let change.
    """
    root = ElementTree.Element(
        "qgis", version="3.22.0", styleCategories="Symbology|Fields|Forms", labelsEnabled="0"
    )
    _add_symbols(root, label)
    fields = ElementTree.SubElement(root, "fieldConfiguration")
    field = ElementTree.SubElement(fields, "field", name=label, configurationFlags="None")
    widget = ElementTree.SubElement(field, "editWidget", type="ValueMap")
    config = ElementTree.SubElement(widget, "config")
    options = ElementTree.SubElement(config, "Option", type="Map")
    choices = ElementTree.SubElement(options, "Option", name="map", type="List")
    for shown, value in [("(no label)", _NULL), *((name, name) for name in classes)]:
        choice = ElementTree.SubElement(choices, "Option", type="Map")
        ElementTree.SubElement(choice, "Option", name=shown, type="QString", value=value)
    editable = ElementTree.SubElement(root, "editable")
    for name in read_only:
        ElementTree.SubElement(editable, "field", name=name, editable="0")
    for tag in ("featformsuppress", "editorlayout"):
        value = {"featformsuppress": "0", "editorlayout": "generatedlayout"}[tag]
        ElementTree.SubElement(root, tag).text = value
    ElementTree.SubElement(root, "previewExpression").text = '"id"'
    ElementTree.SubElement(root, "layerGeometryType").text = "0"
    ElementTree.indent(root)
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return doctype + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_symbols(root: ElementTree.Element, label: str) -> None:
    renderer = ElementTree.SubElement(root, "renderer-v2", type="RuleRenderer", symbollevels="0")
    rules = ElementTree.SubElement(renderer, "rules", key="labels")
    symbols = ElementTree.SubElement(renderer, "symbols")
    column = '"' + label.replace('"', '""') + '"'
    for number, (shown, condition, fill) in enumerate(
        (
            ("to label", f"coalesce({column}, '') = ''", "255,255,255,60"),
            ("labelled", f"coalesce({column}, '') <> ''", "37,99,168,255"),
        )
    ):
        ElementTree.SubElement(
            rules, "rule", key=shown, symbol=str(number), label=shown, filter=condition
        )
        symbol = ElementTree.SubElement(
            symbols, "symbol", name=str(number), type="marker", alpha="1"
        )
        layer = ElementTree.SubElement(symbol, "layer", {"class": "SimpleMarker", "enabled": "1"})
        for key, value in (
            ("name", "circle"),
            ("color", fill),
            ("outline_color", "217,33,33,255"),
            ("outline_width", "0.5"),
            ("size", "3"),
        ):
            ElementTree.SubElement(layer, "prop", k=key, v=value)
