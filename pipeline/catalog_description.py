"""What timesen must know of a catalogue: its address, its assets' names, offsets, and access.

Earth Search, Planetary Computer and the Copernicus Data Space are described in
`pipeline/catalogs`; any other is described by a TOML file of the same few lines, or needs none
where it names its assets as one of these does.
"""

import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from models.preprocessing import BANDS
from pipeline.access import Access
from pipeline.address import holds_secret
from pipeline.errors import CatalogError
from pipeline.item import SCL
from pipeline.published_assets import ANY_NAMES, Conventions
from pipeline.storage import public_url

DEFAULT_COLLECTION = "sentinel-2-l2a"
TABLE_KEY = b"timesen:catalog"
"""Where a table of items keeps the description of the catalogue that they are of."""

_SHIPPED = files("pipeline") / "catalogs"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AccessDescription(_Strict):
    """How rasters are opened; `key` and `secret` name variables of the environment."""

    kind: Literal["open", "signed", "s3"] = "open"
    token_url: str | None = None
    hosts: str = "*.blob.core.windows.net"
    endpoint: str | None = None
    key: str | None = None
    secret: str | None = None
    requests: int = Field(32, ge=1, le=256)

    @model_validator(mode="after")
    def _fits_kind(self) -> "AccessDescription":
        wanted = {"open": set(), "signed": {"token_url"}, "s3": {"endpoint"}}[self.kind]
        allowed = {
            "open": {"requests"},
            "signed": {"token_url", "hosts", "key", "requests"},
            "s3": {"endpoint", "key", "secret", "requests"},
        }[self.kind] | {"kind"}
        if lacking := wanted - self.model_fields_set:
            raise ValueError(f'kind = "{self.kind}" needs {", ".join(sorted(lacking))}')
        if strange := self.model_fields_set - allowed:
            raise ValueError(f'{", ".join(sorted(strange))} does not go with kind = "{self.kind}"')
        if self.kind == "s3" and (self.key is None) != (self.secret is None):
            raise ValueError("key and secret go together")
        for name in (self.token_url, self.endpoint):
            if name and (not name.startswith(("http://", "https://")) or holds_secret(name)):
                raise ValueError("an address is http(s)://… without user, password or query")
        return self

    def access(self) -> Access:
        """The access as readers take it."""
        if self.kind == "signed":
            return Access(
                token_url=self.token_url,
                signed_hosts=self.hosts,
                token_key=self.key,
                requests=self.requests,
            )
        return Access(
            s3_endpoint=self.endpoint,
            s3_key=self.key,
            s3_secret=self.secret,
            requests=self.requests,
        )


class CatalogDescription(_Strict):
    """A catalogue. `url` is a STAC API, a static catalogue or a table of items (.parquet).

    `assets` names each band's asset, or several of which an item has one; what is not named is not
    read. `offset` is what is added to every stored number to get reflectance × 10000, or
    "by-item": by the rules of `pipeline.published_assets`.
    """

    url: str
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

    @field_validator("assets")
    @classmethod
    def _known_bands(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        strange = [band for band in value or {} if band not in (*BANDS, SCL)]
        if strange:
            known = ", ".join((*BANDS, SCL))
            raise ValueError(f"{', '.join(strange)} is no band; bands are {known}")
        if value is not None and SCL not in value:
            raise ValueError("SCL, the scene classification, is not named")
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


def describe(catalog: str, collection: str | None = None) -> CatalogDescription:
    """The description of what the user named as the catalogue.

    A shipped catalogue's name, a TOML file, a table of items (which keeps its catalogue's
    description), or an address or folder, which is taken to name its assets as a shipped one
    does. `collection` goes before the description's. Raises CatalogError.
    """
    if catalog in shipped_catalogs():
        described = _read_toml((_SHIPPED / f"{catalog}.toml").read_bytes(), catalog, Path())
    elif catalog.endswith(".toml") and "://" not in catalog:
        path = Path(catalog).expanduser()
        described = _read_toml(_content(path), catalog, path.parent)
    elif is_table(catalog):
        described = _of_table(catalog)
    else:
        described = CatalogDescription(url=catalog)
    return described.model_copy(update={"collection": collection}) if collection else described


def is_table(catalog: str) -> bool:
    """Whether a catalogue's address is that of a table of items."""
    return catalog.endswith((".parquet", ".geoparquet")) and "://" not in catalog


def _read_toml(content: bytes, given: str, folder: Path) -> CatalogDescription:
    try:
        raw = tomllib.loads(content.decode())
        described = CatalogDescription.model_validate(raw)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(given, f"not valid TOML ({error})", "Mend the line named") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'catalogue'}: "
            f"{e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise CatalogError(given, problems, _EXAMPLE) from None
    beside = folder / described.url
    if "://" not in described.url and beside.exists():
        return described.model_copy(update={"url": str(beside)})
    return described


_EXAMPLE = (
    'Write url = "https://…", collection = "…", and a table [assets] with lines as B02 = "blue" '
    'and SCL = "scl"'
)


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
    path = Path(catalog).expanduser()
    try:
        metadata = pq.read_schema(path).metadata or {}
        kept = metadata.get(TABLE_KEY)
        described = json.loads(kept) if kept else {}
        return CatalogDescription.model_validate({**described, "url": catalog})
    except FileNotFoundError:
        raise CatalogError(
            public_url(catalog), "there is no such table", "`timesen search` writes one"
        ) from None
    except (pa.ArrowException, OSError, ValueError):
        raise CatalogError(
            public_url(catalog), "this is no table of items", "`timesen search` writes one"
        ) from None
