"""What the user writes for a mapping run: TOML or command line, validated once, at the door."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema, model_validator

from models.option import Option, RelativePath
from pipeline.clusters.settings import ClusterSettings
from pipeline.io.user_paths import is_shipped_name, names_tiles
from pipeline.settings.load import validated
from pipeline.settings.sections import Address, CatalogSettings, ReadingSettings, Strict

SHIPPED_CHECKPOINT = RelativePath(partial(is_shipped_name, "checkpoint"))
"""Marks a checkpoint: a shipped one's name, or a folder."""
SHIPPED_VOCABULARY = RelativePath(partial(is_shipped_name, "vocabulary"))
"""Marks a vocabulary: a shipped one's name, or a TOML file."""


class SearchSettings(Strict):
    """What of a catalogue is asked for: the items of a region and twelve months.

    The twelve months are those from `first_month` of `year` on (calendar year by default).
    """

    region: Annotated[str, RelativePath(names_tiles)] = Field(
        description="a vector file; west,south,east,north in degrees; or MGRS tile names"
    )
    year: Annotated[int, WithJsonSchema({"anyOf": [{"type": "integer"}, {"const": "last"}]})] = (
        Field(
            ge=2015,
            le=2100,
            description='the year; "last": the one before this, for runs on a schedule',
        )
    )
    first_month: int = Field(1, ge=1, le=12, description="the month that the twelve begin with")
    catalog: CatalogSettings = CatalogSettings()

    @model_validator(mode="before")
    @classmethod
    def _resolved_year(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "year" not in raw:
            return raw
        year = datetime.now(UTC).year - 1 if raw["year"] == "last" else raw["year"]
        out = raw.get("out")
        named = {"out": out.replace("{year}", str(year))} if isinstance(out, str) else {}
        return raw | {"year": year} | named


class MapSettings(SearchSettings):
    """A mapping run: a region, a year and classes in words in; COGs out.

    The series is ordered January to December whatever month comes first.
    """

    out: Address = Field(
        description="the run's folder, or s3://bucket/prefix; {year} in it is the year",
    )
    vocabulary: Annotated[str | None, SHIPPED_VOCABULARY, Option(replaces="classes")] = Field(
        None, description="a shipped vocabulary's name or a TOML file"
    )
    classes: Annotated[str | None, Option(replaces="vocabulary")] = Field(
        None, description='classes in words: "wheat field, forest, lake"; or give a vocabulary'
    )
    level: Literal["class", "parent"] | None = Field(
        None,
        description="show classes or their parents; default: the vocabulary's",
    )
    checkpoint: Annotated[str, SHIPPED_CHECKPOINT] = Field(
        "sample", description="the encoder: a shipped checkpoint's name or a folder"
    )
    steps: Literal[12, 4, 1] = Field(
        12,
        description="steps of a pixel's year: months; or seasons (4), or the year (1), for speed",
    )
    allow_untrained_steps: bool = Field(
        False,
        description="map in a number of steps that the checkpoint was not trained on",
    )
    cell_size: int = Field(
        2048, ge=64, le=10980, multiple_of=4, description="side of a cell, in pixels of 10 m"
    )
    batch_size: int | None = Field(
        None, ge=1, description="pixels encoded at once; default: what suits the device"
    )
    top_k: int = Field(
        1, ge=1, le=8, description="classes a pixel is given in order, with the margin; 1: its own"
    )
    keep_embeddings: bool = Field(
        False,
        description="keep each pixel's embedding (int8), to ask for other classes later",
    )
    embeddings: Address | None = Field(
        None,
        description="a run that kept embeddings: they are classified, and nothing is read",
    )
    reading: ReadingSettings = ReadingSettings()
    cluster: ClusterSettings = ClusterSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> "MapSettings":
        if (self.vocabulary is None) == (self.classes is None):
            raise ValueError(
                "give either vocabulary (a name or file) or classes (words), one of them"
            )
        if self.keep_embeddings and self.embeddings is not None:
            raise ValueError(
                "embeddings of another run stay there; leave keep_embeddings or embeddings out"
            )
        if self.level == "parent" and self.classes is not None:
            raise ValueError(
                'classes in words have no parents; level = "parent" needs a vocabulary'
            )
        return self


def description(setting: str) -> str:
    """What a setting (dotted, "catalog.url") is, in words, as a sentence."""
    model: type[BaseModel] = MapSettings
    *sections, name = setting.split(".")
    for section in sections:
        model = type(model.model_fields[section].default)
    text = model.model_fields[name].description or name
    return f"{text[0].upper()}{text[1:]}."


def make_settings(raw: dict[str, Any], source: str = "settings") -> MapSettings:
    """Validate the settings of a run; raises SettingsError that names every wrong field."""
    return validated(MapSettings, raw, source, REMEDY)


def make_search_settings(raw: dict[str, Any], source: str = "settings") -> SearchSettings:
    """Validate the settings of a search; raises SettingsError that names every wrong field."""
    return validated(SearchSettings, raw, source, REMEDY)


REMEDY = "`timesen map --help` lists the settings"
