"""The sections of a run's settings: where items come from, how they are read."""

from functools import partial
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
)

from models.encoder.preprocessing import BANDS
from models.option import RelativePath
from pipeline.io.redaction import holds_secret
from pipeline.io.user_paths import is_shipped_name


class Strict(BaseModel):
    """Settings that take no key that they do not know, and are not changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CatalogSettings(Strict):
    """Where the items come from."""

    url: Annotated[str, RelativePath(partial(is_shipped_name, "catalog.url"))] = Field(
        "earth-search",
        description="the catalogue: earth-search, planetary-computer, cdse, a STAC API's URL, a "
        "static one (a folder, or the URL of its catalog.json), a TOML file that describes one, "
        "or a table of items (.parquet); ${NAME} in a URL is taken from the environment",
    )
    collection: str | None = Field(
        None, description="the collection's id; default: the catalogue's description's"
    )
    max_cloud_cover: float = Field(
        95.0, ge=0, le=100, description="leave out granules that are cloudier, in percent"
    )

    @field_validator("url")
    @classmethod
    def _without_secret(cls, value: str | None) -> str | None:
        if value is not None and holds_secret(value):
            raise ValueError(
                "a URL with a user, a password or a query may hold a secret, and settings are "
                "shown; write ${NAME} in their place, and set NAME in the environment"
            )
        return value


class ReadingSettings(Strict):
    """How observations are read and masked."""

    keep_scl: tuple[Annotated[int, Field(ge=1, le=11)], ...] | None = Field(
        None,
        min_length=1,
        description="scene classes that count as clear; default: those of the checkpoint's card "
        "that are neither cloud nor shadow",
    )
    dilate: float = Field(
        0.0, ge=0, le=2000, description="metres around cloud and shadow that are not clear either"
    )
    most_a_month: int = Field(
        6, ge=0, description="acquisitions that are read of a month at most; 0: all"
    )
    least_clear: float = Field(
        1.0,
        ge=0,
        le=100,
        description="percent of what an acquisition shows of a cell that must be clear to read it",
    )
    composite: Literal["median", "geometric-median"] = Field(
        "median", description="how a month's clear observations become one"
    )
    substitute: dict[str, str] = Field(
        default_factory=dict, description="an absent band → the band that stands for it"
    )
    strict: bool = Field(False, description="a raster that can't be read fails its cell")

    @property
    def geometric(self) -> bool:
        """Whether composites are geometric medians."""
        return self.composite == "geometric-median"

    @field_validator("substitute")
    @classmethod
    def _known_bands(cls, value: dict[str, str]) -> dict[str, str]:
        for band in (*value.keys(), *value.values()):
            if band not in BANDS:
                raise ValueError(f"{band!r} is no band; bands are {', '.join(BANDS)}")
        chained = set(value) & set(value.values())
        if chained:
            raise ValueError(f"{', '.join(sorted(chained))} is both absent and a substitute")
        return value


def without_secret(address: str) -> str:
    """The address of a folder or an s3:// prefix; raises ValueError where it may hold a secret."""
    if holds_secret(address):
        raise ValueError(
            "a URL with a user, a password or a query may hold a secret, and settings are shown; "
            "write s3://bucket/prefix, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
            "environment"
        )
    return address


Address = Annotated[str, Field(min_length=1), AfterValidator(without_secret), RelativePath()]
"""A folder or an s3:// prefix, as settings name it."""
