"""The QGIS project of a run, `map.qgz`: its layers with their legends, in the map's CRS.

QGIS's own libraries, which could write it, are no package of PyPI. A project is XML in a ZIP
archive (https://docs.qgis.org/latest/en/docs/user_manual/appendices/qgis_file_formats.html), and
QGIS fills in what is left out. `tests/pipeline/product/test_qgis_project.py` opens it in QGIS.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from pyproj import CRS

from models.vocabulary.vocabulary import Vocabulary
from pipeline.io.store import Store
from pipeline.layout import QGIS_PROJECT
from pipeline.product.colour_blind import colour_blind_safe
from pipeline.product.layer_colours import class_steps
from pipeline.product.layers import (
    CHANGE_PROBABILITY,
    CLASS,
    CLEAR_MONTHS,
    CONFIDENCE,
    TRUE_COLOUR,
    UNLIKE_TRAINING,
)
from pipeline.product.manifest import RunManifest
from pipeline.product.map_crs import crs_code, map_crs
from pipeline.product.mosaic import Mosaic, cells_with
from pipeline.product.qgis_styles import layer_renderer, palette_renderer, qgis_pipe, qgis_style
from pipeline.product.vrt import Frame, faded_vrt

FADED_FILE = f"{CLASS.stem}_by_confidence.vrt"
_OWN, _SAFE = "default", "for the colour-blind"
_HIDDEN = (CONFIDENCE, CHANGE_PROBABILITY, UNLIKE_TRAINING, CLEAR_MONTHS)  # until asked for
_INSIDE = "map.qgs"  # the file in the archive
_MOMENT = (1980, 1, 1, 0, 0, 0)  # of the archive's file: the same run has the same bytes


@dataclass(frozen=True)
class _Layer:
    """A layer of the project; `others` are its further styles by name, as renderers."""

    title: str
    file: str
    renderer: str
    shown: bool
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its id in the project; QGIS passes over those of ten characters or fewer."""
        return f"timesen_{self.file.removesuffix('.vrt')}"


def write_project(
    store: Store,
    run: RunManifest,
    items: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    crs: str | None = None,
) -> None:
    """Write `map.qgz` over a run's mosaics, and the raster of classes that confidence makes opaque.

    In a folder, all paths are relative: it can be moved. On s3:// they are `/vsis3/…`.

    Args:
        store: The run's folder, with its mosaics.
        run: The run.
        items: The STAC items of its finished cells.
        vocabulary: Its classes.
        crs: The code of the mosaics' CRS; by default it is by rule.
    """
    mosaic = Mosaic(run, CLASS, vocabulary, map_crs(items, crs))
    frame = mosaic.frame(items)
    layers = [_class_layer(run, vocabulary)]
    if CONFIDENCE.written(run):
        files = CLASS.mosaic_file, CONFIDENCE.mosaic_file
        faded = faded_vrt(mosaic.crs, frame, vocabulary.dtype.name, *files)
        store.write(FADED_FILE, faded)
        layers.append(_faded_layer(run, vocabulary))
    for layer in (*_HIDDEN, TRUE_COLOUR):
        if layer.written(run) and cells_with(layer, items):
            renderer = layer_renderer(layer, vocabulary)
            file, shown = layer.mosaic_file, layer not in _HIDDEN
            layers.append(_Layer(layer.title_in(run), file, renderer, shown))
    title = f"{vocabulary.title}, {run.years}"
    project = _project(title, run.attribution, mosaic.crs, frame, layers, _place(store))
    store.write(QGIS_PROJECT, _zipped(project))


def moved_project(content: bytes, source: Store, target: Store) -> bytes:
    """The project of a run's folder for a copy of it elsewhere; "" where it is damaged.

    QGIS opens no project in a bucket: in a copy there, paths lead into the bucket.
    """
    old, new = escape(_place(source)), escape(_place(target))
    if old == new:
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            project = archive.read(_INSIDE).decode()
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError):
        return b""
    for before in (' source="', "<datasource>"):
        project = project.replace(before + old, before + new)
    return _zipped(project)


def _place(store: Store) -> str:
    """How a project's paths to the files of a run begin."""
    return store.gdal_path("").rstrip("/") + "/" if store.is_remote else "./"


def _zipped(project: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_INSIDE, _MOMENT), project, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _class_layer(run: RunManifest, vocabulary: Vocabulary) -> _Layer:
    safe = class_steps(vocabulary, colour_blind_safe(vocabulary))
    renderer = layer_renderer(CLASS, vocabulary)
    others = {_SAFE: palette_renderer(safe)}
    return _Layer(CLASS.title_in(run), CLASS.mosaic_file, renderer, True, others)


def _faded_layer(run: RunManifest, vocabulary: Vocabulary) -> _Layer:
    own = palette_renderer(class_steps(vocabulary), alpha_band=2)
    safe = palette_renderer(class_steps(vocabulary, colour_blind_safe(vocabulary)), alpha_band=2)
    title = f"{CLASS.title_in(run)}, faded where unsure"
    return _Layer(title, FADED_FILE, own, False, {_SAFE: safe})


def _project(
    title: str, notice: str, crs: CRS, frame: Frame, layers: Sequence[_Layer], place: str
) -> str:
    """The XML of a project with these layers, the topmost first; `place` begins their paths."""
    srs = (
        f"<spatialrefsys><wkt>{escape(crs.to_wkt())}</wkt>"
        f"<authid>{escape(crs_code(crs))}</authid></spatialrefsys>"
    )
    left, bottom, right, top = frame.bounds
    extent = (
        f"<extent><xmin>{left:.10g}</xmin><ymin>{bottom:.10g}</ymin>"
        f"<xmax>{right:.10g}</xmax><ymax>{top:.10g}</ymax></extent>"
    )
    tree = "".join(
        f"    <layer-tree-layer id={quoteattr(layer.id)} name={quoteattr(layer.title)} "
        f'source={quoteattr(place + layer.file)} providerKey="gdal" '
        f'checked="{"Qt::Checked" if layer.shown else "Qt::Unchecked"}" '
        f'expanded="{int(layer.shown)}"/>\n'
        for layer in layers
    )
    order = "".join(f"<layer id={quoteattr(layer.id)}/>" for layer in layers)
    described = "".join(_map_layer(layer, place, srs, extent) for layer in layers)
    unit = "degrees" if crs.is_geographic else "meters"
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="3.22.0" projectname={quoteattr(title)}>\n'
        f"  <title>{escape(title)}</title>\n"
        f"  <projectCrs>{srs}</projectCrs>\n"
        f"  <layer-tree-group>\n{tree}  </layer-tree-group>\n"
        f'  <mapcanvas name="theMapCanvas"><units>{unit}</units>{extent}'
        f"<destinationsrs>{srs}</destinationsrs></mapcanvas>\n"
        f"  <projectlayers>\n{described}  </projectlayers>\n"
        f"  <layerorder>{order}</layerorder>\n"
        "  <properties>\n"
        '    <Paths><Absolute type="bool">false</Absolute></Paths>\n'
        '    <SpatialRefSys><ProjectionsEnabled type="int">1</ProjectionsEnabled>'
        "</SpatialRefSys>\n"
        "  </properties>\n"
        f"  <projectMetadata><title>{escape(title)}</title>"
        f"<abstract>{escape(notice)}</abstract></projectMetadata>\n"
        "</qgis>\n"
    )


def _map_layer(layer: _Layer, place: str, srs: str, extent: str) -> str:
    others = "".join(
        f"      <map-layer-style name={quoteattr(name)}>"
        f"{_style_element(renderer)}</map-layer-style>\n"
        for name, renderer in layer.others.items()
    )
    return (
        '    <maplayer type="raster" autoRefreshEnabled="0">\n'
        f"      <id>{escape(layer.id)}</id>\n"
        f"      <datasource>{escape(place + layer.file)}</datasource>\n"
        f"      <layername>{escape(layer.title)}</layername>\n"
        "      <provider>gdal</provider>\n"
        f"      <srs>{srs}</srs>\n"
        f"      {extent}\n"
        f'      <map-layer-style-manager current="{_OWN}">\n'
        f'      <map-layer-style name="{_OWN}"/>\n{others}'
        "      </map-layer-style-manager>\n"
        f"{qgis_pipe(layer.renderer)}"
        "    </maplayer>\n"
    )


def _style_element(renderer: str) -> str:
    """A whole style within another document, so without its document type."""
    return qgis_style(renderer).partition("\n")[2]
