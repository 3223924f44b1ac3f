"""The settings of a mapping run, of a search in a catalogue, and of a classification.

All that a user can set stands here, once: TOML files, the command line and its help follow from it.
"""

import re
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from models.option import WHOLE_NUMBER, Names, Option, RelativePath
from pipeline.clusters.settings import ClusterSettings
from pipeline.io.user_paths import is_shipped_name, names_tiles
from pipeline.settings.load import validated
from pipeline.settings.sections import (
    Address,
    CatalogSettings,
    CostSettings,
    NetworkSettings,
    ReadingSettings,
    Strict,
)

SHIPPED_CHECKPOINT = RelativePath(partial(is_shipped_name, "checkpoint"))
"""Marks a checkpoint: a shipped one's name, or a folder."""
SHIPPED_VOCABULARY = RelativePath(partial(is_shipped_name, "vocabulary"))
"""Marks a vocabulary: a shipped one's name, or a TOML file."""


class SearchSettings(Strict):
    """The items of a region and of twelve months in a catalogue.

    The twelve months are those from `first_month` of `year` on (calendar year by default).
    """

    model_config = ConfigDict(title="What to map")

    region: Annotated[
        str, RelativePath(names_tiles), Names("region"), Option(metavar="FILE|BBOX|TILES")
    ] = Field(
        description="a vector file (file.gpkg#layer for one of several layers); "
        "west,south,east,north in degrees; or MGRS tiles, 31UFS,31UFR"
    )
    year: Annotated[
        int,
        WithJsonSchema({"anyOf": [{"type": "integer"}, {"const": "last"}]}),
        Option(metavar="YEAR"),
    ] = Field(
        ge=2015,
        le=2100,
        description='the year; "last": the one before this, for runs on a schedule',
    )
    first_month: int = Field(1, ge=1, le=12, description="the month that the twelve begin with")
    catalog: CatalogSettings = CatalogSettings()
    network: NetworkSettings = NetworkSettings()

    @model_validator(mode="before")
    @classmethod
    def _resolved_year(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "year" not in raw:
            return raw
        year = datetime.now(UTC).year - 1 if raw["year"] == "last" else raw["year"]
        out = raw.get("out")
        named = {"out": out.replace("{year}", str(year))} if isinstance(out, str) else {}
        return raw | {"year": year} | named


class LegendSettings(Strict):
    """The classes of a map, how it shows them, and where it goes."""

    model_config = ConfigDict(title="What the map shows")

    out: Annotated[Address, Names("run to go on with"), Option(metavar="FOLDER|S3-URL")] = Field(
        description="the run's folder, or s3://bucket/prefix; {year} in it is the year"
    )
    classes: Annotated[
        str | None, Names("classes"), Option(metavar="WORDS", replaces="vocabulary")
    ] = Field(
        None,
        description='classes in words: "wheat field, forest, lake", or with members where they are '
        'unions: "cropland, other: forest | lake | town"; or give a vocabulary',
    )
    vocabulary: Annotated[
        str | None,
        SHIPPED_VOCABULARY,
        Names("vocabulary"),
        Option(metavar="NAME|FILE", replaces="classes"),
    ] = Field(None, description="a shipped vocabulary's name, or a TOML file")
    background: Annotated[str | None, Option(metavar="WORDS")] = Field(
        None,
        description='land that is none of the classes, in words: "water, town"; on the map it is '
        '"none of these"',
    )
    threshold: float | None = Field(
        None,
        gt=-1,
        lt=1,
        description='the cosine to its class below which a pixel is "none of these"',
    )
    level: Literal["class", "parent"] | None = Field(
        None, description="show classes or their parents; default: the vocabulary's"
    )
    top_k: int = Field(
        1, ge=1, le=8, description="best classes that are kept per pixel, in order, with the margin"
    )

    unlike_training: bool = Field(
        False, description="also map how unlike the checkpoint's training each pixel is"
    )

    mask: Annotated[Address | None, Names("mask"), Option(metavar="RUN=CLASS,…")] = Field(
        None,
        description="map only where the map of another run shows these classes: "
        "runs/cover=cropland; elsewhere is nodata",
    )

    crs: Annotated[str | None, Option(metavar="CODE")] = Field(
        None,
        description="the CRS of the whole map (class.vrt), such as EPSG:3035 or EPSG:4326; "
        "default: that of its UTM zone, or an equal-area one where it has several (in Europe "
        "EPSG:3035)",
    )

    examples: Annotated[str | None, RelativePath(), Names("file"), Option(metavar="FILE")] = Field(
        None,
        description="labelled points of your own, whose pixels adjust the words: a vector file, or "
        "a CSV with lon and lat; needs label",
    )
    label: Annotated[str | None, Option(metavar="COLUMN")] = Field(
        None, description="the column of the examples' classes: names or codes"
    )

    @model_validator(mode="after")
    def _examples_have_labels(self) -> Self:
        if (self.examples is None) != (self.label is None):
            raise ValueError(
                "examples and label belong together: a file of points, and its column of classes"
            )
        return self

    @model_validator(mode="after")
    def _one_list_of_classes(self) -> Self:
        if (self.vocabulary is None) == (self.classes is None):
            raise ValueError(
                "give either vocabulary (a name or file) or classes (words), one of them"
            )
        if self.level == "parent" and self.classes is not None:
            raise ValueError(
                'classes in words have no parents; level = "parent" needs a vocabulary'
            )
        return self


class MapSettings(LegendSettings, SearchSettings):
    """A mapping run: a region, a year and classes in words in; COGs out.

    The series is ordered January to December whatever month comes first.
    """

    model_config = ConfigDict(title="How to map")

    checkpoint: Annotated[
        str, SHIPPED_CHECKPOINT, Names("checkpoint"), Option(metavar="NAME|FOLDER")
    ] = Field("real-land", description="the encoder: a shipped checkpoint's name, or a folder")
    steps: Annotated[Literal[12, 4, 1], WHOLE_NUMBER] = Field(
        12, description="steps of a pixel's series: 12 months, or, faster, 4 seasons or 1 year"
    )
    allow_untrained_steps: bool = Field(
        False, description="allow steps that the checkpoint was not trained on"
    )
    cell_size: Annotated[int, Option(metavar="PIXELS")] = Field(
        2048, ge=64, le=10980, multiple_of=4, description="side of a cell, in pixels of 10 m"
    )
    batch_size: Annotated[int | None, Option(metavar="PIXELS")] = Field(
        None, ge=1, description="pixels that are encoded at once; default: what suits the device"
    )
    keep_embeddings: bool = Field(
        False, description="keep each pixel's embedding (int8), for `classify` and `query`"
    )
    embeddings: Annotated[Address | None, Names("run"), Option(metavar="RUN")] = Field(
        None, description="classify the embeddings that this run kept; no imagery is read"
    )
    lease_seconds: Annotated[float, Option(metavar="SECONDS")] = Field(
        120,
        ge=1,
        le=86400,
        description="after so long without a sign of life, a process that maps the same run loses "
        "its cells to the others",
    )
    shard: Annotated[str | None, Option(metavar="NUMBER/OF")] = Field(
        None,
        description="map only this part of the cells, 3/10 for the third of ten, and publish "
        "nothing: `timesen publish` does, once the parts are mapped",
    )
    reading: ReadingSettings = ReadingSettings()
    costs: CostSettings = CostSettings()
    cluster: ClusterSettings = ClusterSettings()

    @field_validator("shard")
    @classmethod
    def _is_a_shard(cls, value: str | None) -> str | None:
        if value is not None:
            if not (parts := re.fullmatch(r"([0-9]{1,6})/([1-9][0-9]{0,5})", value)):
                raise ValueError(f"{value!r} is no shard; write 3/10 for the third of ten")
            if not 1 <= int(parts[1]) <= int(parts[2]):
                raise ValueError(
                    f"there is no {value}: the shards are 1/{parts[2]} to {parts[2]}/{parts[2]}"
                )
        return value

    @model_validator(mode="after")
    def _embeddings_are_of_one_run(self) -> Self:
        if self.keep_embeddings and self.embeddings is not None:
            raise ValueError(
                "embeddings of another run stay there; leave keep_embeddings or embeddings out"
            )
        return self


class PlanSettings(MapSettings):
    """A mapping run that is planned, and a page of its plan."""

    model_config = ConfigDict(title="Where the plan goes")

    map_page: Annotated[str | None, RelativePath(), Option("--map", metavar="PAGE.html")] = Field(
        None,
        description="write a page with the tiles on a map: their items, months without an "
        "acquisition, and cost",
    )

    @property
    def run_settings(self) -> MapSettings:
        """The settings of the run itself."""
        return MapSettings.model_validate(self.model_dump(exclude={"map_page"}, exclude_unset=True))


class MachineSettings(Strict):
    """What to measure a machine with: a checkpoint, and a region and year of a catalogue."""

    model_config = ConfigDict(title="What to measure with")

    region: Annotated[
        str | None, RelativePath(names_tiles), Names("region"), Option(metavar="FILE|BBOX|TILES")
    ] = Field(
        None,
        description="the region whose images are read; default: none, only a made-up archive is",
    )
    year: Annotated[int | None, Option(metavar="YEAR")] = Field(
        None, ge=2015, le=2100, description="the year of the images"
    )
    first_month: int = Field(1, ge=1, le=12, description="the month that it begins with")
    checkpoint: Annotated[
        str, SHIPPED_CHECKPOINT, Names("checkpoint"), Option(metavar="NAME|FOLDER")
    ] = Field("real-land", description="the encoder: a shipped checkpoint's name, or a folder")
    catalog: CatalogSettings = CatalogSettings()
    network: NetworkSettings = NetworkSettings()

    @model_validator(mode="after")
    def _region_and_year(self) -> Self:
        if (self.region is None) != (self.year is None):
            raise ValueError("region and year belong together: what is read of the catalogue")
        return self


class ClassifySettings(LegendSettings):
    """Another map of the embeddings that a run kept."""

    run: Annotated[Address, Names("run"), Option(positional=True, metavar="RUN")] = Field(
        description="a run that was mapped with --keep-embeddings: its folder, or an s3:// URL"
    )


def make_settings(raw: dict[str, Any], source: str = "settings") -> MapSettings:
    """Validate the settings of a run; raises SettingsError that names every wrong field."""
    return validated(MapSettings, raw, source, REMEDY)


def make_search_settings(raw: dict[str, Any], source: str = "settings") -> SearchSettings:
    """Validate the settings of a search; raises SettingsError that names every wrong field."""
    return validated(SearchSettings, raw, source, REMEDY)


REMEDY = "`timesen map --help` lists the settings"
