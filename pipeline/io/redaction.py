"""Secrets of addresses stay out of settings and logs.

Settings and logs are kept in places that are not for secrets, such as a Prefect server's database.
So settings name secrets by `${NAME}`, and `SecretFilter` removes users, passwords and query
strings (signatures) from the logs of libraries. Their messages may quote servers and files, so
control characters are removed, too.
"""

import logging
import os
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, urlsplit

from models.visible_text import is_visible, visible_lines, visible_text
from pipeline.errors import CatalogError
from pipeline.io.store import public_url

_SHORTEST = 3  # characters of a secret; a shorter word is none, and stands in other words
_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_STANDS_FOR = (
    "${NAME} stands only for a user, a password or the value of a query of an http(s) address, as "
    "in https://${WHO}:${WORD}@host/path?key=${KEY}: hosts and paths do not stay secret"
)
_REMEDY = "write hosts and paths as they are"
_QUERY_SIGNS = "!$%&'()*+,-./:;=?@_~"  # that a whole query may hold as they are


def require_public_url(url: str) -> str:
    """Require that a catalogue's URL shows no secret, and that its `${NAME}`s stay secret.

    Settings and descriptions are shown and stored. User, password and query of an address are
    removed wherever it is shown; its host and its path are not.

    Returns:
        The URL.

    Raises:
        ValueError: It says what is wrong, but not the URL.
    """
    if not is_visible(url):
        raise ValueError("it holds a control character")
    if holds_secret(url):
        raise ValueError(
            "a URL with a user, a password or a query may hold a secret; write ${NAME} in their "
            "place, and set NAME in the environment: settings are shown (an @ in a path is %40)"
        )
    if _NAME.search(url) and _parts(url) is None:
        raise ValueError(f"{_STANDS_FOR}; {_REMEDY}")
    try:
        urlsplit(_NAME.sub("", url))
    except ValueError:  # its message shows a part of the URL
        raise ValueError("it is no address; brackets in it are %5B and %5D") from None
    return url


def holds_secret(address: str) -> bool:
    """Whether a URL has a user, a password or a query value that is not a `${NAME}`."""
    if "://" not in address:
        return False
    plain = _NAME.sub("", address)
    try:
        parts = urlsplit(plain)
        port = parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    except ValueError:  # no address; what looks like a password is none of its host
        return "@" in plain
    values = [part.partition("=") for part in re.split("[&;]", parts.query)]
    in_query = any(value if equals else key for key, equals, value in values)
    # A "/" or "?" in a password ends the host, and the rest of it looks like a path: me:a/b@host.
    in_path = parts.scheme in ("http", "https") and (
        "@" in parts.path or "@" in parts.fragment or (port and not port.isdecimal())
    )
    return bool(parts.netloc.rpartition("@")[0].strip(":") or in_query or in_path)


def expanded(address: str, setting: str = "catalog.url") -> str:
    """The address with every `${NAME}` replaced by the environment's value, percent-encoded.

    The environment holds user, password and values as they are, "a/b@c". A `${NAME}` that is a
    whole part of a query, "?${SIGNATURE}", is taken to be in the form of a query already. `setting`
    is what errors call the address.

    Raises:
        CatalogError: The environment has no such name, or it stands in a host or a path, where it
            would not stay secret.
    """
    if not _NAME.search(address):
        return address
    if (parts := _parts(address)) is None:
        raise CatalogError(
            f"{setting} = {public_url(address)}",
            _STANDS_FOR,
            _REMEDY.capitalize(),
        )
    before, login, host, question, query = parts

    given = f"{setting} = {public_url(address)}"

    def encoded(name: re.Match[str]) -> str:
        return quote(os.fsencode(_value(name, given)), "")

    def in_query(part: str) -> str:
        if whole := _NAME.fullmatch(part):
            return quote(os.fsencode(_value(whole, given)), _QUERY_SIGNS)
        return _NAME.sub(encoded, part)

    queries = "".join(map(in_query, re.split("([&;])", query)))
    return f"{before}{_NAME.sub(encoded, login)}{host}{question}{queries}"


def expanded_header(header: str) -> tuple[str, str]:
    """Name and value of a header "Name: value", each `${NAME}` in the value replaced.

    Raises:
        CatalogError: It is no header, its value names no variable, so that it would be shown, or
            the environment has no such name.
    """
    name, colon, value = header.partition(":")
    name = name.strip()
    given = f"header {name}" if colon and _TOKEN.fullmatch(name) else "a header"
    if not colon or not _TOKEN.fullmatch(name) or not is_visible(value):
        raise CatalogError(given, "it is no header", f"Write {_HEADER}")
    if not _NAME.search(value):
        raise CatalogError(
            given,
            "its value would be seen in the list of processes and in the shell's history",
            f"Write ${{NAME}} in its place, and set NAME in the environment: {_HEADER}",
        )
    filled = _NAME.sub(lambda found: _value(found, given), value.strip())
    if not is_visible(filled) or not filled.isascii():
        raise CatalogError(given, "the variable holds more than a header may", "Correct it")
    return name, filled


_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER = "'Authorization: Bearer ${STAC_TOKEN}'"


def _value(name: re.Match[str], given: str) -> str:
    """The value of the environment's variable that a `${NAME}` names."""
    try:
        return os.environ[name[1]]
    except KeyError:
        raise CatalogError(
            given,
            f"the environment has no {name[1]}",
            f"Set it where this is used: export {name[1]}=…",
        ) from None


def _parts(address: str) -> tuple[str, str, str, str, str] | None:
    """`scheme://`, user info, host and path, "?", query; None if a `${NAME}` stands elsewhere."""
    found = re.fullmatch(r"(https?://)(?:([^/?#]*)(?=@))?([^?#]*)(\??)([^#]*)", address, re.I)
    if found is None or _NAME.search(found[3]):
        return None
    return found[1], found[2] or "", found[3], found[4], found[5]


class SecretFilter(logging.Filter):
    """Removes query strings, users, passwords and control characters from a library's messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record whose message is not safe to show; every record is logged."""
        message = record.getMessage()
        shown = self.shown(message)
        if shown != message:
            record.msg, record.args = shown, ()
        return True

    def shown(self, message: str) -> str:
        """The message without secrets, as one line."""
        return visible_text(without_secrets(message))


class VisibleFilter(SecretFilter):
    """Makes control characters in the messages of our own loggers visible, but no line breaks."""

    def shown(self, message: str) -> str:
        """The message, in its own lines."""
        return visible_lines(message)


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
