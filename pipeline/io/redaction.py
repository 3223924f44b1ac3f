"""Secrets of addresses stay out of settings and logs.

Settings and logs are kept in places that are not for secrets, such as a Prefect server's database.
So settings name secrets by `${NAME}`, and `SecretFilter` removes users, passwords and query
strings (signatures) from the logs of libraries.
"""

import logging
import os
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, urlsplit

from pipeline.errors import CatalogError
from pipeline.io.store import public_url

_SHORTEST = 3  # characters of a secret; a shorter word is none, and stands in other words
_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def holds_secret(address: str) -> bool:
    """Whether a URL has a user, a password or a query value that is not a `${NAME}`."""
    if "://" not in address:
        return False
    parts = urlsplit(_NAME.sub("", address))
    values = [part.partition("=") for part in re.split("[&;]", parts.query)]
    in_query = any(value if equals else key for key, equals, value in values)
    return bool(parts.netloc.rpartition("@")[0].strip(":") or in_query)


def expanded(address: str) -> str:
    """The address with every `${NAME}` replaced by the environment's value.

    Raises CatalogError where the environment has no such name.
    """

    def value(name: re.Match[str]) -> str:
        try:
            return os.environ[name[1]]
        except KeyError:
            raise CatalogError(
                f"catalog.url = {public_url(address)}",
                f"the environment has no {name[1]}",
                f"Set it where the catalogue is searched: export {name[1]}=…",
            ) from None

    return _NAME.sub(value, address)


class SecretFilter(logging.Filter):
    """Removes query strings, users and passwords from the messages of a logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record whose message holds a secret; every record is logged."""
        message = record.getMessage()
        shown = without_secrets(message)
        if shown != message:
            record.msg, record.args = shown, ()
        return True


def without_secrets(message: str) -> str:
    """The message without secrets; file names and request lines hold query strings, too."""
    return re.sub(r"://[^\s/?#]*@", "://", re.sub(r"\?[^\s'\"`,]+", "?…", message))


def without_words(text: str, words: Iterable[str]) -> str:
    """The text without some words, also as they are written in an address."""
    long = [word for word in words if len(word) >= _SHORTEST]
    written = {form for word in long for form in (word, quote(word, ""), quote_plus(word))}
    for form in sorted(written, key=len, reverse=True):
        text = text.replace(form, "…")
    return text
