"""Prices of computing, reading and writing: those that come with timesen, or the user's own."""

import datetime
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from models.files.regular_file import read_regular
from models.files.toml_file import parse_toml
from models.near_names import did_you_mean
from models.option import user_path
from models.validation_words import plain_problem
from models.visible_text import visible_text
from pipeline.errors import SettingsError
from pipeline.io.user_paths import is_shipped_name

_SHIPPED = files("pipeline") / "prices"
_LARGEST = 1e6  # of any price
_MOST_BYTES = 100_000


class Prices(BaseModel):
    """What a provider, or a machine of one's own, charges.

    Attributes:
        title: What the prices are of, in words.
        date: Since when they hold.
        currency: The code of the currency (ISO 4217), "EUR".
        source: Where they come from.
        core_hour: Price of a CPU core for an hour.
        gpu_hour: Price of a GPU with its machine for an hour.
        read_gb: Price of a gigabyte (1e9 bytes) that is read over the network.
        written_gb: Price of a gigabyte that is written, for as long as it is kept.
        thousand_requests: Price of a thousand requests for rasters over the network.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    title: str = Field(min_length=1, max_length=200)
    date: datetime.date
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    source: str = Field(min_length=1, max_length=500)
    core_hour: float = Field(ge=0, le=_LARGEST, allow_inf_nan=False)
    gpu_hour: float = Field(0.0, ge=0, le=_LARGEST, allow_inf_nan=False)
    read_gb: float = Field(0.0, ge=0, le=_LARGEST, allow_inf_nan=False)
    written_gb: float = Field(0.0, ge=0, le=_LARGEST, allow_inf_nan=False)
    thousand_requests: float = Field(0.0, ge=0, le=_LARGEST, allow_inf_nan=False)

    @field_validator("title", "source")
    @classmethod
    def _visible(cls, value: str) -> str:
        if visible_text(value) != value:
            raise ValueError("it holds control characters")
        return value

    def __str__(self) -> str:
        return f"{self.title}, {self.date.isoformat()}"


def shipped_prices() -> tuple[str, ...]:
    """The names of the price lists that come with timesen; all are examples."""
    return tuple(
        sorted(f.name.removesuffix(".toml") for f in _SHIPPED.iterdir() if f.name.endswith(".toml"))
    )


def load_prices(name: str) -> Prices:
    """The prices of a shipped name or a TOML file; raises SettingsError where they are none."""
    if is_shipped_name("prices", name):
        return _validated((_SHIPPED / f"{name}.toml").read_bytes(), name)
    try:
        content = read_regular(user_path(name))
    except (OSError, ValueError) as error:  # ValueError: of a zero in the path
        reason = (error.strerror or "") if isinstance(error, OSError) else "this is no path"
        near = did_you_mean(name, shipped_prices())
        raise SettingsError(
            f"prices = {name}",
            f"no such prices ({reason.lower()}){near}",
            f"Give {', '.join(shipped_prices())}, or a TOML file of your own",
        ) from None
    if len(content) > _MOST_BYTES:
        raise SettingsError(f"prices = {name}", "it is too large for a list of prices", _EXAMPLE)
    return _validated(content, name)


_EXAMPLE = (
    'Write title, source and currency = "EUR" as text, date = 2026-11-28, and prices as numbers: '
    "core_hour, gpu_hour, read_gb, written_gb, thousand_requests; docs/costs.md has an example"
)


def _validated(content: bytes, name: str) -> Prices:
    try:
        return Prices.model_validate(parse_toml(content, name, SettingsError))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, entry['loc']))}: {plain_problem(entry)}"
            for entry in error.errors()
        )
        raise SettingsError(f"prices = {name}", problems, _EXAMPLE) from None
