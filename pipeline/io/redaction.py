"""Web addresses in settings: free of secrets, which `${NAME}` takes from the environment.

Settings are shown and kept in places that are not for secrets, such as a Prefect server's database.

Secrets taken out of what libraries log: signatures in query strings, users and passwords.
"""

import logging
import os
import re
from urllib.parse import urlsplit

from pipeline.errors import CatalogError
from pipeline.io.store import public_url

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def holds_secret(address: str) -> bool:
    """Whether a URL has a user, a password or a query's value that is not taken from `${NAME}`."""
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
    """Shortens query strings and drops users and passwords in the messages of a logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where its message holds a secret; it is logged always."""
        message = record.getMessage()
        shown = without_secrets(message)
        if shown != message:
            record.msg, record.args = shown, ()
        return True


def without_secrets(message: str) -> str:
    """The message; query strings stand in file names and request lines, too, not in URLs only."""
    return re.sub(r"://[^\s/?#]*@", "://", re.sub(r"\?[^\s'\"`,]+", "?…", message))
