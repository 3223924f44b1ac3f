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
from models.option import COMMAS, PAIRS, Names, Option, RelativePath
from pipeline.io.network_rules import UNRESTRICTED as _RULES
from pipeline.io.network_rules import is_host_or_network
from pipeline.io.redaction import holds_secret, require_public_url
from pipeline.io.user_paths import is_shipped_name


class Strict(BaseModel):
    """Settings that take no key that they do not know, and are not changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CatalogSettings(Strict):
    """Where the items come from."""

    model_config = ConfigDict(title="Where from")

    url: Annotated[
        str,
        RelativePath(partial(is_shipped_name, "catalog.url")),
        Names("catalog"),
        Option("--catalog", metavar="NAME|URL|FILE"),
    ] = Field(
        "earth-search",
        description="the catalogue: earth-search, planetary-computer or cdse; a STAC API's URL; a "
        "static catalogue's folder or URL; a TOML file that describes one; or a table of items "
        "(.parquet). ${NAME} for a user, a password or a query's value is taken from the "
        "environment",
    )
    collection: Annotated[str | None, Option(metavar="ID")] = Field(
        None, description="the collection; default: that of the catalogue's description"
    )
    max_cloud_cover: Annotated[float, Option(metavar="PERCENT")] = Field(
        95.0, ge=0, le=100, description="leave out granules that are cloudier than this"
    )

    accept_incomplete: bool = Field(
        False,
        description="go on where a STAC API gives fewer items than it says that it has; else that "
        "is an error",
    )

    @field_validator("url")
    @classmethod
    def _without_secret(cls, value: str) -> str:
        return require_public_url(value)


class NetworkSettings(Strict):
    """What a catalogue of the web may lead to, and how much a server may send."""

    model_config = ConfigDict(title="Limits of the network")

    allowed_hosts: Annotated[tuple[str, ...], COMMAS, Option(metavar="HOST,NETWORK,…")] = Field(
        (),
        description="hosts, addresses and networks (10.1.0.0/16) that are not on the public "
        "internet, and to which a catalogue of the web may still lead",
    )
    largest_document: Annotated[int, Option(metavar="MB")] = Field(
        _RULES.largest_document // 10**6,
        ge=1,
        description="size of one document of a catalogue or page of a search at most",
    )
    most_data: Annotated[int, Option(metavar="MB")] = Field(
        _RULES.most_data // 10**6, ge=1, description="size of all documents of a search at most"
    )
    most_documents: Annotated[int, Option(metavar="NUMBER")] = Field(
        _RULES.most_documents,
        ge=1,
        description="documents of a static catalogue, or items of a table, at most",
    )
    most_pages: Annotated[int, Option(metavar="NUMBER")] = Field(
        _RULES.most_pages, ge=1, description="pages of a month's items in a STAC API at most"
    )
    most_depth: Annotated[int, Option(metavar="LEVELS")] = Field(
        _RULES.most_depth, ge=1, description="levels of a static catalogue at most"
    )
    least_rate: Annotated[float, Option(metavar="BYTES")] = Field(
        _RULES.least_rate,
        ge=0,
        description="bytes a second that a server must send, on average over a minute of waiting",
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not is_host_or_network(name):
                raise ValueError(
                    f"{name!r} is neither a host nor a network; write them without https:// and "
                    "port: assets.example.org, 10.1.2.3, 10.1.0.0/16"
                )
        return value


class CostSettings(Strict):
    """What a run's cost is reckoned by; no result depends on it."""

    model_config = ConfigDict(title="What it costs")

    prices: Annotated[
        str,
        RelativePath(partial(is_shipped_name, "prices")),
        Names("prices"),
        Option(metavar="NAME|FILE"),
    ] = Field(
        "on-premise",
        description="prices of cores, GPUs, bytes and requests: a TOML file of your own, or an "
        "example that comes with timesen (on-premise, cloud-spot, cloud-on-demand)",
    )
    machine: Annotated[tuple[str, ...], COMMAS, Option(metavar="NAME,…")] = Field(
        (),
        max_length=2,
        description="the machine whose rates count, as `timesen bench machine` has kept them; or "
        "two, one that reads and one that encodes; default: this one's, or typical ones",
    )


class ReadingSettings(Strict):
    """How observations are read and masked."""

    model_config = ConfigDict(title="How to read")

    keep_scl: Annotated[
        tuple[Annotated[int, Field(ge=1, le=11)], ...] | None, COMMAS, Option(metavar="4,5,6,…")
    ] = Field(
        None,
        min_length=1,
        description="scene classes (SCL) that count as clear; default: the checkpoint's",
    )
    dilate: Annotated[float, Option(metavar="METRES")] = Field(
        0.0, ge=0, le=2000, description="distance around cloud and shadow that is not clear either"
    )
    most_a_month: int = Field(
        6, ge=0, description="acquisitions that are read per month at most, the clearest; 0: all"
    )
    least_clear: Annotated[float, Option(metavar="PERCENT")] = Field(
        1.0, ge=0, le=100,
        description="an acquisition is read if it shows this much of the cell clearly",
    )  # fmt: skip
    composite: Literal["median", "geometric-median"] = Field(
        "median", description="how the clear observations of a month become one"
    )
    substitute: Annotated[dict[str, str], PAIRS, Option(metavar="B8A=B08")] = Field(
        default_factory=dict,
        description="a band that the items do not have = the band that stands for it; repeatable",
    )
    strict: bool = Field(
        False, description="let a raster that cannot be read fail its cell; else it is left out"
    )
    trust_offsets: bool = Field(
        False,
        description="use items after whose stated offset clear land would be below 0; else they "
        "are left out",
    )

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
