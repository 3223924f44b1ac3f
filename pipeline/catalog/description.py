"""The description of a catalogue: its address, its assets' names, offsets, and access.

`pipeline/catalogs` describes Earth Search, Planetary Computer and the Copernicus Data Space. A
user describes another one in a TOML file of the same few lines. A catalogue that names its assets
as one of these does needs no description.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from models.encoder.preprocessing import BANDS
from models.files.json_text import parse_json
from models.files.regular_file import read_regular, regular_file
from models.files.toml_file import parse_toml
from models.near_names import did_you_mean
from models.option import user_path
from models.validation_words import plain_problem
from pipeline.catalog.access_description import AccessDescription
from pipeline.catalog.item import SCL
from pipeline.catalog.item_assets import ANY_NAMES, Conventions
from pipeline.errors import CatalogError
from pipeline.io.redaction import require_public_url
from pipeline.io.store import public_url
from pipeline.io.user_paths import existing, foreign_address

TABLE_KEY = b"timesen:catalog"
"""The key of the metadata of a table of items that holds its catalogue's description."""
TABLE_REMEDY = "Give a table that `timesen search` or another tool has written as stac-geoparquet"

_SHIPPED = files("pipeline") / "catalogs"
CATALOG_FILES = ("catalog.json", "collection.json")
"""The files of which a catalogue's folder has one."""


class CatalogDescription(BaseModel):
    """A catalogue.

    Attributes:
        url: A STAC API, a static catalogue or a table of items (.parquet).
        collection: The collection to search.
        assets: Each band's asset key, or several of which an item has one; other bands are not
            read.
        offset: The number that is added to every stored number to get reflectance × 10000, or
            "by-item": by the rules of `pipeline.catalog.item_assets`.
        access: How the rasters are opened.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = Field(min_length=1)
    collection: str = "sentinel-2-l2a"
    assets: dict[str, str | list[str]] | None = None
    offset: Literal["by-item"] | int = "by-item"
    access: AccessDescription = AccessDescription()

    @field_validator("url")
    @classmethod
    def _without_secret(cls, value: str) -> str:
        return require_public_url(value)

    @field_validator("assets", mode="before")
    @classmethod
    def _known_bands(cls, value: Any) -> Any:
        if value is None:
            return value
        if not isinstance(value, dict):
            raise ValueError('this is a table: write [assets] and below it B02 = "blue" …')
        if strange := [band for band in value if band not in (*BANDS, SCL)]:
            known = ", ".join((*BANDS, SCL))
            raise ValueError(f"{', '.join(strange)} is no band; bands are {known}")
        if SCL not in value:
            raise ValueError('SCL, the scene classification, is missing; add SCL = "…"')
        bands: dict[str, str] = {}
        for band, names in value.items():
            listed = names if isinstance(names, list) else [names]
            if not listed or not all(isinstance(name, str) and name for name in listed):
                raise ValueError(f'{band} takes an asset\'s name, "blue", or a list of names')
            for name in listed:
                if (other := bands.setdefault(name.lower(), band)) != band:
                    raise ValueError(f"{name} is the name of both {other} and {band}")
        return value

    @field_validator("offset", mode="before")
    @classmethod
    def _whole_number(cls, value: Any) -> Any:
        if value != "by-item" and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError('write "by-item", or a number to add to each stored number: -1000, 0')
        return value

    @property
    def conventions(self) -> Conventions:
        """The names of the catalogue's assets, and the meaning of their numbers."""
        names = ANY_NAMES
        if self.assets is not None:
            names = {
                band: (name,) if isinstance(name, str) else tuple(name)
                for band, name in self.assets.items()
            }
        return Conventions(names, None if self.offset == "by-item" else self.offset)


def shipped_catalogs() -> tuple[str, ...]:
    """The names of the catalogues that timesen knows."""
    return tuple(
        sorted(f.name.removesuffix(".toml") for f in _SHIPPED.iterdir() if f.name.endswith(".toml"))
    )


def describe_catalog(catalog: str, collection: str | None = None) -> CatalogDescription:
    """The description of the catalogue that a user named.

    Args:
        catalog: A shipped catalogue's name or address, a TOML file, a table of items (which keeps
            its catalogue's description), or another address or folder, which is taken to name its
            assets as a shipped one does.
        collection: Replaces the description's collection.

    Raises:
        CatalogError: The description is missing or wrong.
    """
    _require_supported(catalog)
    if catalog.endswith(".toml") and "://" not in catalog:
        path = user_path(catalog)
        described = _relative_to(path.parent, _read_toml(_content(path), catalog), catalog)
    elif is_table(catalog):
        described = _from_table(catalog)
    else:
        place = public_url(catalog) or "catalog"
        described = _shipped(catalog) or _validated({"url": catalog}, place)
    _require_supported(described.url)
    return described.model_copy(update={"collection": collection}) if collection else described


def catalog_file(path: str) -> Path:
    """The file of a catalogue on this machine, which may be named by its folder.

    Raises CatalogError where there is none.
    """
    place = user_path(path).absolute()
    if place.is_file():
        return place
    if not place.is_dir():
        raise CatalogError(
            path,
            f"no such catalogue{did_you_mean(path, shipped_catalogs())}",
            f"Give {', '.join(shipped_catalogs())}, a STAC API's address, a folder or address of "
            "a static catalogue, a TOML file that describes one, or a table of items",
        )
    for name in CATALOG_FILES:
        if (place / name).is_file():
            return place / name
    raise CatalogError(
        path, f"the folder holds neither {' nor '.join(CATALOG_FILES)}", "Give a catalogue's folder"
    )


def _require_supported(catalog: str) -> None:
    if problem := foreign_address(catalog, ("https", "http", "file")):
        raise CatalogError(
            public_url(catalog),
            problem,
            f"Give {', '.join(shipped_catalogs())}, the address of a STAC API or of a static "
            "catalogue, or a folder",
        )


def is_table(catalog: str) -> bool:
    """Whether a catalogue's address is that of a table of items."""
    return catalog.endswith((".parquet", ".geoparquet")) and "://" not in catalog


def _shipped(catalog: str) -> CatalogDescription | None:
    for name in shipped_catalogs():
        described = _read_toml((_SHIPPED / f"{name}.toml").read_bytes(), name)
        if catalog == name or catalog.rstrip("/") == described.url:
            return described
    return None


def _read_toml(content: bytes, name: str) -> CatalogDescription:
    return _validated(parse_toml(content, name, CatalogError), name)


def _validated(raw: dict[str, Any], name: str) -> CatalogDescription:
    try:
        return CatalogDescription.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(map(_problem, error.errors()))
        raise CatalogError(name, problems, _EXAMPLE) from None


_EXAMPLE = (
    'Write url = "https://…" and below it a table [assets] with lines as B02 = "blue" and '
    'SCL = "scl"; docs/catalogues.md has all keys'
)


def _problem(entry: ErrorDetails) -> str:
    """A wrong key and its problem, without its value, which may be a secret."""
    place, kind, message = entry["loc"], entry["type"], plain_problem(entry)
    where = ".".join(map(str, place))
    if kind == "extra_forbidden":
        model = AccessDescription if len(place) > 1 else CatalogDescription
        near = did_you_mean(str(place[-1]), model.model_fields)
        keys = f" (keys are {', '.join(model.model_fields)})"
        message = f"there is no such key{near or keys}"
    elif kind == "model_type":
        message = "this is a table: write [access] and its keys below"
    return f"{where}: {message}"


def _relative_to(folder: Path, described: CatalogDescription, name: str) -> CatalogDescription:
    """The description; a relative path in it that exists in the folder becomes absolute.

    Raises CatalogError where its url names another description instead of a catalogue.
    """
    url = described.url
    shipped = url in shipped_catalogs()
    path = existing(url, folder) if "://" not in url and not shipped else None
    if path:
        return described.model_copy(update={"url": str(path)})
    if shipped or url.endswith(".toml"):
        raise CatalogError(
            name,
            f"its url is {url}, which is another description",
            "Write the address or path of the catalogue itself",
        )
    return described


def _content(path: Path) -> bytes:
    try:
        return read_regular(path)
    except (OSError, ValueError) as error:  # ValueError: of a zero in the path
        reason = (error.strerror or "") if isinstance(error, OSError) else "this is no path"
        raise CatalogError(
            str(path),
            f"the catalogue's description cannot be read ({reason.lower()})",
            f"Give {', '.join(shipped_catalogs())}, a TOML file, a STAC API's address, a folder or "
            "a table of items",
        ) from None


def _from_table(catalog: str) -> CatalogDescription:
    """The description in a table of items; a plain one for other tools' tables."""
    try:
        with regular_file(user_path(catalog)) as file:
            text = (pq.read_schema(file).metadata or {}).get(TABLE_KEY)
    except (pa.ArrowException, ValueError):
        raise CatalogError(catalog, "this is no table of items", TABLE_REMEDY) from None
    except OSError as error:
        reason = f"the table cannot be read ({(error.strerror or '').lower()})"
        raise CatalogError(catalog, reason, TABLE_REMEDY) from None
    try:
        described = dict(parse_json(text)) if text else {}
        return CatalogDescription.model_validate({**described, "url": catalog})
    except (TypeError, ValueError):
        raise CatalogError(
            catalog,
            "its description of the catalogue is not valid",
            "Write the table anew: `timesen search`",
        ) from None
