"""How settings are checked at the door, whatever they are of."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from pipeline.address import holds_secret
from pipeline.errors import SettingsError

Settings = TypeVar("Settings", bound=BaseModel)


def without_secret(address: str) -> str:
    """The address of a folder or an s3:// prefix; raises ValueError where it may hold a secret."""
    if holds_secret(address):
        raise ValueError(
            "a URL with a user, a password or a query may hold a secret, and settings are shown; "
            "write s3://bucket/prefix, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
            "environment"
        )
    return address


Address = Annotated[str, Field(min_length=1), AfterValidator(without_secret)]
"""A folder or an s3:// prefix, as settings name it."""


def problem_of(entry: ErrorDetails) -> str:
    """A setting that is wrong, and what is wrong with it."""
    where = ".".join(map(str, entry["loc"]))
    what = entry["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{where}: {what}" if where else what


def validated(
    model: type[Settings],
    raw: Mapping[str, Any],
    source: str,
    remedy: str,
    problem: Callable[[ErrorDetails], str] = problem_of,
) -> Settings:
    """Settings of a model; raises SettingsError that names each that is wrong.

    `source` is where they were given, `remedy` where they are explained.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(map(problem, error.errors()))
        raise SettingsError(source, problems, remedy) from None
