"""Secrets of addresses: where `${NAME}` may stand, and how its value is written."""

import logging
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from pipeline.errors import CatalogError
from pipeline.io.redaction import (
    SecretFilter,
    VisibleFilter,
    expanded,
    holds_secret,
    require_public_url,
)
from pipeline.io.store import public_url

WORD = "a/b?c@d[e]:f#g %2F&h=i+é€"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "me@home")
    monkeypatch.setenv("WORD", WORD)
    monkeypatch.setenv("SIGNATURE", "sv=1&sig=ab%2Bc")


def test_a_value_stays_where_its_name_stands() -> None:
    url = expanded("https://${WHO}:${WORD}@example.com:8080/v1?key=${WORD}&b=x${WHO}&${SIGNATURE}")
    parts = urlsplit(url)
    assert (parts.hostname, parts.port, parts.path) == ("example.com", 8080, "/v1")
    assert unquote(parts.username or "") == "me@home"
    assert unquote(parts.password or "") == WORD
    query = {"key": [WORD], "b": ["xme@home"], "sv": ["1"], "sig": ["ab+c"]}
    assert parse_qs(parts.query) == query
    assert public_url(url) == "https://example.com:8080/v1"


@pytest.mark.parametrize(
    "url",
    [
        "https://${WORD}/v1",
        "https://example.com/${WORD}/v1",
        "https://example.com:${WORD}/v1?key=${WORD}",
        "https://example.com/v1#${WORD}",
        "s3://bucket/${WORD}",
        "/data/${WORD}",
        "${WORD}",
    ],
)
def test_a_name_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^\$\{NAME\} stands only for a user"):
        require_public_url(url)
    with pytest.raises(CatalogError, match="stands only for a user") as refused:
        expanded(url)
    assert "a/b" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hush/now@example.com/",
        "https://me:hush?now@example.com/",
        "https://me:hush#now@example.com/",
        "https://hush/now@example.com/",
        "https://me:1/hush@example.com/",
        "https://me:hush[now@example.com/",
        "https://${WHO}:hush/now@example.com/",
    ],
)
def test_a_password_that_looks_like_a_host_is_seen(url: str) -> None:
    assert holds_secret(url)
    with pytest.raises(ValueError, match="may hold a secret") as refused:
        require_public_url(url)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://[", "https://example.com/\x1b[2J", "a\x00b"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"is no address|a control character"):
        require_public_url(url)
    public_url(url)


@pytest.mark.parametrize(
    "url",
    ["https://[::1]:8080/v1", "https://example.com/a%40b", "s3://bucket/a@b", "file:///a@b", "a@b"],
)
def test_plain_addresses_are_none(url: str) -> None:
    assert require_public_url(url) == url


def test_filters_of_logs(caplog: pytest.LogCaptureFixture) -> None:
    library, own = logging.getLogger("tests.library"), logging.getLogger("tests.own")
    library.addFilter(SecretFilter())
    own.addFilter(VisibleFilter())
    library.warning("GET %s", "https://me:hush@example.com/?key=hush \x1b[2J\nError: all is well")
    own.warning("%s items\nfor one %s", 3, "\x1b[2J")
    assert caplog.messages == [
        "GET https://example.com/?… \\x1b[2J Error: all is well",
        "3 items\nfor one \\x1b[2J",
    ]
