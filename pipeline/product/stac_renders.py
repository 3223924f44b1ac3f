"""How tile servers and browsers of catalogues draw a map: STAC's render extension (2.0.0).

titiler-pgstac reads `renders` of a collection, and of an item for that item alone. A run's items
are thousands, and all are drawn alike: the collection has them, and items get them at a STAC API.
"""

from collections.abc import Collection, Mapping
from typing import Any

from models.vocabulary.vocabulary import Vocabulary
from pipeline.product.layers import WHITE, OutputLayer, cell_layers
from pipeline.product.manifest import RunManifest

RENDER_EXTENSION = "https://stac-extensions.github.io/render/v2.0.0/schema.json"
_RAMP = "viridis"  # as the styles for QGIS
_DIVERGING = "rdylbu_r"
"""Blue below the middle, red above it; rio-tiler, and so titiler, knows these names."""


def stac_renders(
    run: RunManifest, vocabulary: Vocabulary, assets: Collection[str]
) -> dict[str, dict[str, Any]]:
    """The value of `renders`: by layer of these assets, how it is drawn.

    Layers of several bands are left out, as no field says which band to draw in all tile servers;
    but for pictures, whose bands are red, green and blue.
    """
    return {
        layer.name: _render(layer, run, vocabulary)
        for layer in cell_layers(run)
        if layer.name in assets and _is_drawn(layer, run)
    }


def renders_of(
    renders: Mapping[str, Mapping[str, Any]], assets: Collection[str]
) -> dict[str, Mapping[str, Any]]:
    """Those renders of a collection whose assets an item has."""
    return {name: one for name, one in renders.items() if set(one["assets"]) <= set(assets)}


def _is_drawn(layer: OutputLayer, run: RunManifest) -> bool:
    return "visual" in layer.roles or (layer.style is not None and len(layer.bands(run)) == 1)


def _render(layer: OutputLayer, run: RunManifest, vocabulary: Vocabulary) -> dict[str, Any]:
    drawn: dict[str, Any] = {"title": layer.title_in(run), "assets": [layer.name]}
    if layer.nodata is not None:
        drawn["nodata"] = layer.nodata
    drawn["resampling"] = "average" if layer.overview == "average" else "nearest"
    if layer.style == "classes":
        colours = {str(entry.value): entry.colour for entry in vocabulary.legend}
        return {**drawn, "colormap": colours}
    if layer.style == "beyond-100":
        return {**drawn, "rescale": [[layer.limits[0], 200]], "colormap_name": _DIVERGING}
    if layer.style == "ramp":
        return {**drawn, "rescale": [list(layer.limits)], "colormap_name": _RAMP}
    return {**drawn, "rescale": [[0, WHITE]] * len(layer.bands(run))}
