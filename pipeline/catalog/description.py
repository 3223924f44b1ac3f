"""What timesen must know of a catalogue: its address, its assets' names, offsets, and access.

Earth Search, Planetary Computer and the Copernicus Data Space are described in
`pipeline/catalogs`; any other is described by a TOML file of the same few lines, or needs none
where it names its assets as one of these does.
"""

import difflib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from models.encoder.preprocessing import BANDS
from models.toml_file import parse_toml
from pipeline.catalog.access_description import AccessDescription
from pipeline.catalog.item import SCL
from pipeline.catalog.item_assets import ANY_NAMES, Conventions
from pipeline.errors import CatalogError
from pipeline.io.redaction import holds_secret
from pipeline.io.store import public_url
from pipeline.io.user_paths import existing

DEFAULT_COLLECTION = "sentinel-2-l2a"
TABLE_KEY = b"timesen:catalog"
"""Where a table of items keeps the description of the catalogue that they are of."""

_SHIPPED = files("pipeline") / "catalogs"


class CatalogDescription(BaseModel):
    """A catalogue. `url` is a STAC API, a static catalogue or a table of items (.parquet).

    `assets` names each band's asset, or several of which an item has one; what is not named is not
    read. `offset` is what is added to every stored number to get reflectance × 10000, or
    "by-item": by the rules of `pipeline.catalog.item_assets`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = Field(min_length=1)
    collection: str = DEFAULT_COLLECTION
    assets: dict[str, str | list[str]] | None = None
    offset: Literal["by-item"] | int = "by-item"
    access: AccessDescription = AccessDescription()

    @field_validator("url")
    @classmethod
    def _without_secret(cls, value: str) -> str:
        if holds_secret(value):
            raise ValueError("a URL with a user, a password or a query may hold a secret; write "
                             "${NAME} in their place, and set NAME in the environment")  # fmt: skip
        return value

    @field_validator("assets", mode="before")
    @classmethod
    def _known_bands(cls, value: Any) -> Any:
        if value is None:
            return value
        if not isinstance(value, dict):
            raise ValueError('this is a table: write [assets] and below it B02 = "blue" …')
        strange = [band for band in value if band not in (*BANDS, SCL)]
        if strange:
            known = ", ".join((*BANDS, SCL))
            raise ValueError(f"{', '.join(strange)} is no band; bands are {known}")
        if SCL not in value:
            raise ValueError('SCL, the scene classification, is not named; add SCL = "…"')
        bands: dict[str, str] = {}
        for band, names in value.items():
            listed = names if isinstance(names, list) else [names]
            if not listed or not all(isinstance(name, str) and name for name in listed):
                raise ValueError(f'{band} is an asset\'s name, "blue", or a list of some')
            for name in listed:
                if (other := bands.setdefault(name.lower(), band)) != band:
                    raise ValueError(f"{name} is the name of both {other} and {band}")
        return value

    @field_validator("offset", mode="before")
    @classmethod
    def _whole_number(cls, value: Any) -> Any:
        if value != "by-item" and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError('it is "by-item", or what is added to each stored number: -1000, 0')
        return value

    @property
    def conventions(self) -> Conventions:
        """How the catalogue's items are to be understood."""
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
    """The description of what the user named as the catalogue.

    A shipped catalogue's name or address, a TOML file, a table of items (which keeps its
    catalogue's description), or another address or folder, which is taken to name its assets as a
    shipped one does. `collection` goes before the description's. Raises CatalogError.
    """
    if catalog.endswith(".toml") and "://" not in catalog:
        path = Path(catalog).expanduser()
        described = _beside(_read_toml(_content(path), catalog), path.parent, catalog)
    elif is_table(catalog):
        described = _of_table(catalog)
    else:
        described = _shipped(catalog) or _validated(
            {"url": catalog}, public_url(catalog) or "catalog"
        )
    return described.model_copy(update={"collection": collection}) if collection else described


def is_table(catalog: str) -> bool:
    """Whether a catalogue's address is that of a table of items."""
    return catalog.endswith((".parquet", ".geoparquet")) and "://" not in catalog


def _shipped(catalog: str) -> CatalogDescription | None:
    for name in shipped_catalogs():
        described = _read_toml((_SHIPPED / f"{name}.toml").read_bytes(), name)
        if catalog == name or catalog.rstrip("/") == described.url:
            return described
    return None


def _read_toml(content: bytes, given: str) -> CatalogDescription:
    return _validated(parse_toml(content, given, CatalogError), given)


def _validated(raw: dict[str, Any], given: str) -> CatalogDescription:
    try:
        return CatalogDescription.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(_problem(e["loc"], e["type"], e["msg"]) for e in error.errors())
        raise CatalogError(given, problems, _EXAMPLE) from None


_EXAMPLE = (
    'Write url = "https://…" and below it a table [assets] with lines as B02 = "blue" and '
    'SCL = "scl"; docs/catalogues.md has all keys'
)


def _problem(place: tuple[int | str, ...], kind: str, message: str) -> str:
    """A key that is wrong and what is wrong with it; no value, which may be a secret."""
    where = ".".join(map(str, place))
    if kind == "extra_forbidden":
        model = AccessDescription if len(place) > 1 else CatalogDescription
        near = difflib.get_close_matches(str(place[-1]), model.model_fields, 1)
        known = f"did you mean {near[0]}?" if near else f"keys are {', '.join(model.model_fields)}"
        message = f"there is no such key ({known})"
    elif kind == "model_type":
        message = "this is a table: write [access] and its keys below"
    elif kind == "missing":
        message = "it is not given"
    return f"{where}: {message.removeprefix('Value error, ')}"


def _beside(described: CatalogDescription, folder: Path, given: str) -> CatalogDescription:
    """The description, a relative path in it taken from the folder of its file where it is there.

    Raises CatalogError where it names a catalogue instead of its address.
    """
    url = described.url
    shipped = url in shipped_catalogs()
    beside = existing(url, folder) if "://" not in url and not shipped else None
    if beside:
        return described.model_copy(update={"url": str(beside)})
    if shipped or url.endswith(".toml"):
        raise CatalogError(
            given,
            f"its url is {url}, which is described elsewhere",
            "Write the address or path of the catalogue itself",
        )
    return described


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CatalogError(
            str(path),
            f"the catalogue's description cannot be read ({(error.strerror or '').lower()})",
            f"Give {', '.join(shipped_catalogs())}, a TOML file, a STAC API's address, a folder or "
            "a table of items",
        ) from None


def _of_table(catalog: str) -> CatalogDescription:
    """The description that a table of items was written with; a plain one for others' tables."""
    try:
        with Path(catalog).expanduser().open("rb") as file:
            kept = (pq.read_schema(file).metadata or {}).get(TABLE_KEY)
    except (pa.ArrowException, ValueError):
        raise CatalogError(catalog, "this is no table of items", _WRITE) from None
    except OSError as error:
        reason = f"the table cannot be read ({(error.strerror or '').lower()})"
        raise CatalogError(catalog, reason, _WRITE) from None
    try:
        described = dict(json.loads(kept)) if kept else {}
        return CatalogDescription.model_validate({**described, "url": catalog})
    except (TypeError, ValueError):
        raise CatalogError(
            catalog,
            "what it says of its catalogue is not understood",
            "Write the table anew: `timesen search`",
        ) from None


_WRITE = "Give a table that `timesen search` or another tool has written as stac-geoparquet"
