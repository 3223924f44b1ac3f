"""The styles of a run's mosaics: for QGIS, for servers that read SLD, and for the colour-blind."""

from models.vocabulary.vocabulary import Vocabulary
from pipeline.io.store import Store
from pipeline.product.colour_blind import colour_blind_safe
from pipeline.product.layer_colours import class_steps
from pipeline.product.layers import CELL_LAYERS, CLASS
from pipeline.product.manifest import RunManifest
from pipeline.product.qgis_styles import layer_style, palette_renderer, qgis_style
from pipeline.product.sld_styles import layer_sld, sld


def write_styles(store: Store, run: RunManifest, vocabulary: Vocabulary) -> None:
    """Write the styles of each mosaic of a run, such as `class.qml` and `class.sld`.

    `class_colour_blind.qml` and `.sld` have colours that the colour-blind can tell apart.
    """
    for layer in CELL_LAYERS:
        if layer.mosaic and layer.style and layer.written(run):
            store.write(layer.style_file, layer_style(layer, vocabulary).encode())
            title = layer.title_in(run)
            store.write(f"{layer.stem}.sld", layer_sld(layer, vocabulary, title).encode())
    steps = class_steps(vocabulary, colour_blind_safe(vocabulary))
    safe = f"{CLASS.stem}_colour_blind"
    store.write(f"{safe}.qml", qgis_style(palette_renderer(steps)).encode())
    title = f"{CLASS.title_in(run)}, for the colour-blind"
    store.write(f"{safe}.sld", sld("values", steps, CLASS.name, title).encode())
