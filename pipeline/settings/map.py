"""What the user writes for a mapping run: TOML or command line, validated once, at the door."""

import difflib
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema, model_validator
from pydantic_core import ErrorDetails

from pipeline.clusters.settings import ClusterSettings
from pipeline.errors import SettingsError
from pipeline.io.user_paths import existing, is_shipped_name, names_tiles
from pipeline.settings.sections import Address, CatalogSettings, ReadingSettings, Strict, validated


class SearchSettings(Strict):
    """What of a catalogue is asked for: the items of a region and twelve months.

    The twelve months are those from `first_month` of `year` on (calendar year by default).
    """

    region: str = Field(
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
    vocabulary: str | None = Field(None, description="a shipped vocabulary's name or a TOML file")
    classes: str | None = Field(
        None, description='classes in words: "wheat field, forest, lake"; or give a vocabulary'
    )
    level: Literal["class", "parent"] | None = Field(
        None,
        description="show classes or their parents; default: the vocabulary's",
    )
    checkpoint: str = Field(
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


def read_settings(path: Path, overrides: dict[str, Any] | None = None) -> MapSettings:
    """The settings of a TOML file, with `overrides` (nested dict) laid over them.

    Relative `region`, `out`, `checkpoint`, `vocabulary` and `catalog.url` paths of the file are
    taken from the file's folder. Raises SettingsError.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows begins with a mark
    except FileNotFoundError as error:
        raise SettingsError(str(path), "there is no such file", "Give a run's TOML file") from error
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
        raise SettingsError(str(path), reason, "Give a run's TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            str(path), f"not valid TOML ({error})", "Mend the line named"
        ) from error
    return make_settings(_merged(_anchored(raw, path.parent), overrides or {}), source=str(path))


def make_settings(raw: dict[str, Any], source: str = "settings") -> MapSettings:
    """Validated settings of a run; raises SettingsError that names every field that is wrong."""
    return validated(MapSettings, raw, source, _REMEDY, _problem)


def make_search_settings(raw: dict[str, Any], source: str = "settings") -> SearchSettings:
    """Validated settings of a search; raises SettingsError that names what is wrong."""
    return validated(SearchSettings, raw, source, _REMEDY, _problem)


_REMEDY = "`timesen map --help` lists the settings"


def _problem(entry: ErrorDetails) -> str:
    """A setting that is wrong and what is wrong with it."""
    place, kind, message = entry["loc"], entry["type"], entry["msg"]
    where = ".".join(str(part) for part in place) or "run"
    if kind in ("model_type", "model_attributes_type"):
        message = f"this is a section: write [{where}] and its settings below"
    elif kind == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _fields(place[:-1]), 1)
        message = "there is no such setting" + (f" (did you mean {near[0]}?)" if near else "")
    return f"{where}: {message.removeprefix('Value error, ')}"


def _fields(section: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = MapSettings
    for name in section:
        model = type(model.model_fields[str(name)].default)
    return list(model.model_fields)


def _anchored(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths that exist beside the file are taken from there, not from where one stands."""

    def anchor(setting: str, value: Any) -> Any:
        if not isinstance(value, str) or is_shipped_name(setting, value):
            return value
        beside = existing(value, folder)
        return str(beside) if beside and not names_tiles(value) else value

    anchored = dict(raw)
    for key in ("region", "checkpoint", "vocabulary"):
        if key in anchored:
            anchored[key] = anchor(key, anchored[key])
    for key in ("out", "embeddings"):
        place = anchored.get(key)
        if isinstance(place, str) and place and "://" not in place:
            anchored[key] = str((folder / Path(place).expanduser()).absolute())
    if isinstance(catalog := anchored.get("catalog"), dict) and "url" in catalog:
        anchored["catalog"] = {**catalog, "url": anchor("catalog.url", catalog["url"])}
    return anchored


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if nested else value
    return result
