"""The rasters of a product, each declared once; everything that is written follows from these.

COGs, STAC assets, mosaics, QGIS styles and the report read these declarations. To add a raster,
declare an `OutputLayer` in `CELL_LAYERS` and give its values: per pixel in
`pipeline.classification.classify`, per cell in `pipeline.mapping.cell_rasters`.
"""

from calendar import month_name
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.encoder.distance_percent import MOST_PERCENT, NO_PERCENT
from models.vocabulary.vocabulary import Vocabulary
from pipeline.product.manifest import RunManifest

COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
NODATA_CLASS = 0
NODATA_CONFIDENCE = 255
WHITE = 130
"""The number of a true colour that is shown as white, a reflectance of 0.26: land is dark."""
SIMILARITY_SCALE = 10_000
"""A cosine similarity is multiplied by this in a raster."""


@dataclass(frozen=True)
class OutputLayer:
    """A raster of the product.

    Attributes:
        name: The key of its STAC asset and of its array, and the stem of its files.
        title: A short name for people.
        dtype: uint8, uint16, int8, or "classes": what the vocabulary's values need.
        nodata: The value of pixels without one; None if every pixel has one.
        description: What its numbers are, in a sentence without a full stop.
        bands: The names of a run's bands, in order; none are listed where there are hundreds.
        written: Whether a run writes it.
        overview: GDAL's resampling for overviews.
        roles: The roles of its STAC asset.
        unit: The unit of its numbers.
        style: How a GIS shows it: the colours and names of classes, a ramp over `limits`, or a ramp
            that marks what lies beyond 100.
        limits: Lowest and highest number of the ramp.
        styled_band: The band that the style shows, from 1.
        compression: How its COGs are compressed.
        mosaic: Whether a VRT over the whole run is written, with pixels of 10 m.
        per_pixel: Whether it is computed block by block, at 10 m.
        step: Pixels of 10 m a side of its pixels; None where its array says it.
        optional: Whether cells of a run may lack it.
        per_block: Whether each block has a file, instead of the cell a COG.
    """

    name: str
    title: str
    dtype: Literal["classes", "uint8", "uint16", "int8"]
    nodata: int | None
    description: str
    bands: Callable[[RunManifest], tuple[str, ...]]
    written: Callable[[RunManifest], bool] = lambda run: True
    overview: Literal["mode", "nearest", "average"] = "nearest"
    roles: tuple[str, ...] = ("data",)
    unit: str | None = None
    style: Literal["classes", "ramp", "beyond-100"] | None = None
    limits: tuple[float, float] = (0, 100)
    styled_band: int = 1
    compression: Literal["DEFLATE", "ZSTD"] = "DEFLATE"
    mosaic: bool = False
    per_pixel: bool = True
    step: int | None = None
    optional: bool = False
    per_block: bool = False

    @property
    def file(self) -> str:
        """The name of its COG in a cell's folder: `clear_observations.tif`."""
        return f"{self.stem}.tif"

    @property
    def stem(self) -> str:
        """The name of its files, without what says what they are: `clear_observations`."""
        return self.name.replace("-", "_")

    @property
    def mosaic_file(self) -> str:
        """The name of its mosaic in the run's folder: `class.vrt`."""
        return self.file.replace(".tif", ".vrt")

    @property
    def style_file(self) -> str:
        """The name of its QGIS style; QGIS loads the one beside a raster of the same name."""
        return self.file.replace(".tif", ".qml")

    @property
    def media_type(self) -> str:
        """The media type of its STAC asset."""
        return "image/tiff; application=geotiff" if self.per_block else COG_TYPE

    def dtype_for(self, vocabulary: Vocabulary) -> np.dtype:
        """The type of its numbers in a map of a vocabulary."""
        return vocabulary.dtype if self.dtype == "classes" else np.dtype(self.dtype)

    def title_in(self, run: RunManifest) -> str:
        """Its title in a run; a run that is made of others may call it otherwise."""
        return run.derived_texts(self.name)[0] or self.title

    def description_in(self, run: RunManifest) -> str:
        """Its description in a run, likewise."""
        return run.derived_texts(self.name)[1] or self.description

    def band_titles(self, run: RunManifest) -> list[str]:
        """What a GIS calls its bands."""
        bands = self.bands(run)
        title = f"{self.title_in(run)} ({self.unit})" if self.unit else self.title_in(run)
        return [title] if len(bands) == 1 else [f"{title}, {band}" for band in bands]


def _top_k(run: RunManifest) -> int:
    return int(run.settings.get("top_k", 1))


def _ranks(run: RunManifest) -> tuple[str, ...]:
    return tuple(f"rank {rank}" for rank in range(1, _top_k(run) + 1))


CLASS = OutputLayer(
    name="class",
    title="Class",
    dtype="classes",
    nodata=NODATA_CLASS,
    description="The class of the nearest text embedding",
    bands=lambda run: ("class",),
    overview="mode",
    style="classes",
    mosaic=True,
)
CONFIDENCE = OutputLayer(
    name="confidence",
    title="Confidence",
    dtype="uint8",
    nodata=NODATA_CONFIDENCE,
    description="The softmax over the classes of the scaled cosine, of the class shown",
    bands=lambda run: ("confidence",),
    overview="average",
    unit="%",
    style="ramp",
    mosaic=True,
)
TOP_CLASSES = OutputLayer(
    name="top-classes",
    title="Nearest classes",
    dtype="classes",
    nodata=NODATA_CLASS,
    description="The nearest classes of each pixel, one per band, nearest first",
    bands=_ranks,
    written=lambda run: _top_k(run) > 1,
    overview="mode",
    style="classes",
    mosaic=True,
)
TOP_CONFIDENCES = OutputLayer(
    name="top-confidences",
    title="Confidence of the nearest classes",
    dtype="uint8",
    nodata=NODATA_CONFIDENCE,
    description="One band per class of top-classes; the last is the first's margin to the second",
    bands=lambda run: (*_ranks(run), "margin"),
    written=lambda run: _top_k(run) > 1,
    overview="average",
    unit="%",
    style="ramp",
    mosaic=True,
)
UNLIKE_TRAINING = OutputLayer(
    name="unlike-training",
    title="Unlike the training",
    dtype="uint8",
    nodata=NO_PERCENT,
    description="The cosine distance of each pixel's embedding from the nearest of the training, "
    "in percent of the distance within which 95 % of held-out training points lie",
    bands=lambda run: ("unlike training",),
    written=lambda run: bool(run.settings.get("unlike_training")),
    overview="average",
    unit="%",
    style="beyond-100",
    limits=(0, MOST_PERCENT),
    mosaic=True,
)
CLEAR_OBSERVATIONS = OutputLayer(
    name="clear-observations",
    title="Clear observations",
    dtype="uint8",
    nodata=None,
    description="Clear acquisitions that were read of each pixel, per month",
    bands=lambda run: tuple(month_name[1:]),
    written=lambda run: run.derived_kind != "change",
    roles=("metadata",),
    style="ramp",
    limits=(0, 6),
    styled_band=7,  # in January, the far north has no light
    compression="ZSTD",
    per_pixel=False,
)
CLEAR_MONTHS = OutputLayer(
    name="clear-months",
    title="Clear months",
    dtype="uint8",
    nodata=255,
    description="Months of the twelve in which each pixel was seen clearly at least once",
    bands=lambda run: ("clear months",),
    written=lambda run: run.derived_kind != "change",
    overview="average",
    roles=("metadata",),
    style="ramp",
    limits=(0, 12),
    mosaic=True,
    per_pixel=False,
)
TRUE_COLOUR = OutputLayer(
    name="true-colour",
    title="True colour",
    dtype="uint8",
    nodata=0,
    description="The median of the months' reflectance in B04, B03 and B02, every fourth pixel; "
    "255 times its square root",
    bands=lambda run: ("red", "green", "blue"),
    overview="average",
    roles=("visual", "overview"),
    mosaic=True,
    per_pixel=False,
    step=4,
    optional=True,
)
CHANGE_PROBABILITY = OutputLayer(
    name="change-probability",
    title="Probability of a change",
    dtype="uint8",
    nodata=NODATA_CONFIDENCE,
    description="The probability that the class differs between two maps, by the probabilities of "
    "both and as if they were independent",
    bands=lambda run: ("change probability",),
    written=lambda run: run.derived_kind == "change",
    overview="average",
    unit="%",
    style="ramp",
    mosaic=True,
)
EMBEDDINGS = OutputLayer(
    name="embeddings",
    title="Embeddings",
    dtype="int8",
    nodata=0,
    description="One band per dimension; an embedding is a pixel's numbers over their length",
    bands=lambda run: (),
    written=lambda run: bool(run.settings.get("keep_embeddings")),
    per_pixel=False,
    per_block=True,
)
CELL_LAYERS = (
    CLASS,
    CONFIDENCE,
    UNLIKE_TRAINING,
    CLEAR_OBSERVATIONS,
    CLEAR_MONTHS,
    TRUE_COLOUR,
    TOP_CLASSES,
    TOP_CONFIDENCES,
    CHANGE_PROBABILITY,
    EMBEDDINGS,
)
"""The rasters of a mapped cell."""

SIMILARITY = OutputLayer(
    name="similarity",
    title="Cosine similarity × 10000",
    dtype="uint16",
    nodata=65535,
    description="The cosine of each pixel's embedding to the query's; below 0 it is 0",
    bands=lambda run: ("similarity",),
    overview="average",
    style="ramp",
    mosaic=True,
)
"""The raster of `timesen query`, in a folder of its own."""


def cell_layers(run: RunManifest) -> tuple[OutputLayer, ...]:
    """The layers that a run writes as one COG per cell."""
    return tuple(layer for layer in CELL_LAYERS if layer.written(run) and not layer.per_block)


def layer_of_asset(key: str) -> OutputLayer:
    """The layer of a STAC asset's key, such as "class" or "embeddings-0256-0000".

    Raises KeyError for the key of no layer.
    """
    for layer in CELL_LAYERS:
        if key == layer.name or (layer.per_block and key.startswith(f"{layer.name}-")):
            return layer
    raise KeyError(key)
