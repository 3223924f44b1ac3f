"""The HTTP client against servers that lead elsewhere, or send without end."""

import gzip
import itertools
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from pipeline.io.network_rules import NetworkRules
from pipeline.raster import http_client
from pipeline.raster.http_client import KEY_HEADER, fetch, fetch_range
from pipeline.raster.read_errors import ReadFailure, Unreadable
from tests.hostile_server import HostileServer, Say, hostile_server, plain_answer
from tests.pipeline.io.test_network_rules import resolve

HERE = NetworkRules(of_web=True, allowed=("127.0.0.1", "start.test"))
"""A catalogue of the web that the user named at 127.0.0.1; 127.0.0.2 is another's."""
QUICK = NetworkRules(least_rate=1000, rate_seconds=0.5)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    caches = (http_client._proxy_of, http_client._netrc_auth, http_client._pool)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def inside() -> Iterator[HostileServer]:
    """A server of the internal network, to which nothing may lead."""
    with hostile_server(lambda head, say: plain_answer(say, b"secret"), "127.0.0.2") as server:
        yield server


def failure(url: str, rules: NetworkRules = HERE, timeout: float = 5) -> ReadFailure:
    with pytest.raises(Unreadable) as raised:
        fetch(url, timeout, rules=rules)
    return raised.value.failure


def test_an_address_that_is_not_public_is_not_connected_to(inside: HostileServer) -> None:
    assert "127.0.0.2 is not on the public internet" in failure(inside.address).reason
    with pytest.raises(Unreadable, match="allowed_hosts under"):
        fetch_range(inside.address, 0, 10, 5, HERE)
    assert not inside.heads
    assert fetch(inside.address, 5) == b"secret"  # of a catalogue on this machine
    named = NetworkRules(of_web=True, allowed=("127.0.0.0/29",))
    assert fetch(inside.address, 5, rules=named) == b"secret"


def test_a_redirect_to_an_address_that_is_not_public(inside: HostileServer) -> None:
    def answer(head: str, say: Say) -> None:
        plain_answer(say, b"", "302 Found", f"Location: {inside.address}/latest/meta-data")

    with hostile_server(answer) as server:
        said = failure(server.address).reason
        with pytest.raises(Unreadable, match="redirects to an address that is not allowed"):
            fetch_range(server.address, 0, 10, 5, HERE)
    assert "redirects to an address that is not allowed: 127.0.0.2 is not on" in said
    assert not inside.heads


def test_a_name_that_leads_elsewhere_the_second_time(
    inside: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses are checked when they are connected to."""
    port = inside.address.rpartition(":")[2]
    names = {"rebound.test": ["8.8.8.8"]}
    resolve(names, monkeypatch)
    assert HERE.addresses("rebound.test", 80) == ["8.8.8.8"]
    names["rebound.test"] = ["127.0.0.2"]
    reason = failure(f"http://rebound.test:{port}/").reason
    assert "rebound.test is not on the public internet" in reason
    names["start.test"] = ["127.0.0.2"]  # a name that the user has given
    assert fetch(f"http://start.test:{port}/", 5, rules=HERE) == b"secret"


def test_connections_are_not_shared_between_rules(inside: HostileServer) -> None:
    assert fetch(inside.address, 5) == b"secret"
    failure(inside.address)
    assert len(inside.heads) == 1


def test_a_redirect_to_a_file_is_refused() -> None:
    def answer(head: str, say: Say) -> None:
        plain_answer(say, b"", "302 Found", "Location: file:///etc/passwd")

    with hostile_server(answer) as server:
        assert "redirects to something that is no http(s) address" in failure(server.address).reason


@pytest.mark.parametrize("target", ["http://[", "http://127.0.0.1:99999/", "http://" + "a" * 70])
def test_a_redirect_to_what_is_no_address(target: str) -> None:
    def answer(head: str, say: Say) -> None:
        plain_answer(say, b"", "302 Found", f"Location: {target}")

    with hostile_server(answer) as server:
        assert failure(server.address).unreachable


def test_redirects_end_and_their_bodies_are_not_read() -> None:
    def answer(head: str, say: Say) -> None:
        number = int(head.split("/")[1].split(" ")[0] or 0)
        say(f"HTTP/1.1 302 Found\r\nLocation: /{number + 1}\r\n\r\n".encode())
        for _ in range(1000):
            say(bytes(65536))

    with hostile_server(answer) as server:
        assert failure(server.address).reason == "its server redirects without end"
        assert server.paths == ["/", "/1", "/2", "/3", "/4", "/5"]


def test_keys_do_not_follow_a_redirect_to_another_port() -> None:
    with hostile_server(lambda head, say: plain_answer(say, b"there")) as other:

        def answer(head: str, say: Say) -> None:
            place = "/again" if head.split()[1] == "/" else f"{other.address}/x"
            plain_answer(say, b"", "307 Temporary Redirect", f"Location: {place}")

        with hostile_server(answer) as server:
            address = server.address.replace("//", "//me:hush@")
            assert fetch(address, 5, {KEY_HEADER: "key"}, rules=HERE) == b"there"
            for head in server.heads:
                assert "authorization: basic" in head.lower()
                assert f"{KEY_HEADER}: key" in head
        (head,) = other.heads
        assert "authorization" not in head.lower()
        assert KEY_HEADER not in head


def test_https_does_not_become_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with hostile_server(lambda head, say: plain_answer(say, b"open")) as plain:

        def answer(head: str, say: Say) -> None:
            plain_answer(say, b"", "302 Found", f"Location: {plain.address}/?token=hush")

        with hostile_server(answer, tls=context) as secure:
            reason = failure(f"{secure.address}/?token=hush").reason
        assert "redirects from https to http" in reason
        assert not plain.heads


def test_a_proxy_resolves_names_and_gets_no_literal_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = NetworkRules(of_web=True)
    with hostile_server(lambda head, say: plain_answer(say, b"by proxy"), "127.0.0.2") as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        assert fetch("http://unknown.invalid/a", 5, rules=rules) == b"by proxy"
        for host in ("127.0.0.1", "169.254.169.254", "[::1]", "localhost", "0x7f.1"):
            assert "not on the public internet" in failure(f"http://{host}/a", rules).reason
        assert proxy.paths == ["http://unknown.invalid/a"]


def trickle(say: Say, start: bytes, drop: bytes, seconds: float = 20) -> None:
    say(start)
    for _ in range(int(seconds / 0.05)):
        say(drop)
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"A"),
        (b"HT", b"T"),
    ],
    ids=["body", "chunks", "headers", "status"],
)
def test_an_answer_that_trickles_ends(start: bytes, drop: bytes) -> None:
    with hostile_server(lambda head, say: trickle(say, start, drop)) as server:
        began = time.monotonic()
        failed = failure(server.address, QUICK)
        assert time.monotonic() - began < 5
    assert "sent less than 1000 bytes a second for 0.5 seconds, the least_rate" in failed.reason
    assert failed.passing


def test_a_slow_answer_at_the_least_rate_is_read() -> None:
    body = bytes(4000)

    def answer(head: str, say: Say) -> None:
        say(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
        for start in range(0, 4000, 100):
            say(body[start : start + 100])
            time.sleep(0.03)

    with hostile_server(answer) as server:
        assert fetch(server.address, 5, rules=QUICK) == body


def endless(start: bytes, drop: bytes) -> Callable[[str, Say], None]:
    def answer(head: str, say: Say) -> None:
        say(start)
        for _ in itertools.count():
            say(drop)

    return answer


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"y" * 65536),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    ],
    ids=["headers", "a header", "continue"],
)
def test_headers_without_end(start: bytes, drop: bytes) -> None:
    with hostile_server(endless(start, drop)) as server:
        failed = failure(server.address)
    assert failed.reason == "its server's answer has headers without end"
    assert not failed.passing


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_a_document_that_is_too_large(compressed: bool) -> None:
    """A bomb of gzip is no larger than the bound while it is read."""
    rules = NetworkRules(largest_document=5_000_000)
    bomb = gzip.compress(bytes(200_000_000))
    start = b"HTTP/1.1 200 OK\r\n\r\n"
    if compressed:
        start = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + bomb
    with hostile_server(endless(start, bytes(65536))) as server:
        failed = failure(server.address, rules)
    assert failed.reason == (
        "its server's answer is larger than 5 MB, the largest_document under [network]"
    )
    assert not failed.passing


@pytest.mark.parametrize(
    "head",
    [
        "206 Partial Content\r\nContent-Length: 100000000000\r\nContent-Range: bytes 0-9/100000",
        "206 Partial Content\r\nContent-Range: bytes 0-9/100000",
        "200 OK\r\nContent-Length: 100000000000",
    ],
    ids=["206 of 100 GB", "206 without length", "200"],
)
def test_no_more_is_read_of_a_raster_than_was_asked_for(head: str) -> None:
    sent = 0

    def answer(request: str, say: Say) -> None:
        nonlocal sent
        say(f"HTTP/1.1 {head}\r\n\r\n".encode())
        for _ in range(20_000):
            say(b"x" * 65536)
            sent += 65536

    with hostile_server(answer) as server:
        assert fetch_range(server.address, 0, 10, 5).content == b"x" * 10
        time.sleep(0.2)
    assert sent < 20_000_000  # what the system's buffers take


def test_a_place_that_is_far_in_a_file_of_a_server_without_ranges() -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n"
    with (
        hostile_server(endless(start, bytes(65536))) as server,
        pytest.raises(Unreadable, match="sends whole files only"),
    ):
        fetch_range(server.address, 10**10, 10, 5)
