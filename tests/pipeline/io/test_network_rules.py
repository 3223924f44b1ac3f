"""What a catalogue of the web may lead to, by address; and files that have no end."""

import ipaddress
import os
import socket
from pathlib import Path

import pytest

from models.files.regular_file import NotRegularFile, read_regular
from pipeline.io.network_rules import (
    LOOPBACK,
    UNRESTRICTED,
    ForbiddenAddress,
    NetworkRules,
    allowed_for,
    is_public,
)

WEB = NetworkRules(of_web=True)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),  # NAT64 of 8.8.8.8
        ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd", "/vsicurl/https://example.com/x.tif", "/vsizip//tmp/a.zip", "file:///etc/x",
        "FILE:///etc/x", "C:\\x.tif", "ftp://example.com/x", "gs://bucket/x", "x.tif", "http://[",
        "s3://me@2852039166#/x", "s3://x@10.0.0.1/x", "s3:///x", "http://h:99999/x",
        "http://10.0.0.1\\@example.com/x", "http://①②⑦.⓪.⓪.①/x",
        "http://127.0.0.1/x", "http://127.1/x", "http://2130706433/x", "http://0x7f.1/x",
        "http://0177.0.0.1/x", "http://[::1]/x", "http://localhost:8080/x", "http://a.localhost/x",
        "http://LOCALHOST./x", "http://169.254.169.254/latest", "https://me:pw@10.0.0.1/x",
    ],
)  # fmt: skip
def test_what_a_catalogue_of_the_web_must_not_lead_to(href: str) -> None:
    assert WEB.problem(href)
    assert UNRESTRICTED.problem(href) is None


@pytest.mark.parametrize(
    "href", ["https://example.com/x.tif", "http://8.8.8.8:80/x", "s3://sentinel-s2-l2a/x.jp2"]
)
def test_what_a_catalogue_of_the_web_may_lead_to(href: str) -> None:
    assert WEB.problem(href) is None


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("10.1.0.0/16", "10.1.2.3"),
        ("10.1.2.3", "10.1.2.3"),
        ("fd00::/8", "[fd00::1]"),
        ("localhost", "localhost"),
    ],
)
def test_allowed_hosts_and_networks(allowed: str, address: str) -> None:
    rules = NetworkRules(of_web=True, allowed=(allowed,))
    assert rules.problem(f"http://{address}:8000/x") is None
    assert "allowed_hosts under [network]" in (rules.problem("http://10.2.0.1/x") or "")


def resolve(names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let names have these addresses, which a resolver could give at any time."""
    real = socket.getaddrinfo

    def found(host: str, port: object, *args: object, **more: object) -> object:
        if host not in names:
            return real(host, port, *args, **more)  # type: ignore[arg-type]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in names[host]]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def test_only_public_addresses_of_a_name_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"mixed.test": ["10.0.0.1", "8.8.8.8"], "inside.test": ["10.0.0.1", "127.0.0.1"]}
    resolve(names, monkeypatch)
    assert WEB.addresses("mixed.test", 80) == ["8.8.8.8"]
    with pytest.raises(ForbiddenAddress, match=r"inside\.test is not on the public internet"):
        WEB.addresses("inside.test", 80)
    own = NetworkRules(of_web=True, allowed=("inside.test",))
    assert own.addresses("inside.test", 80) == names["inside.test"]
    assert UNRESTRICTED.addresses("inside.test", 80) == names["inside.test"]


def test_hosts_that_the_user_names_are_allowed_where_they_are_not_public(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve(
        {"inside.test": ["10.0.0.1"], "evil.test": ["8.8.8.8"], "own.test": ["127.0.0.1"]},
        monkeypatch,
    )
    assert allowed_for(["inside.test"]) == ("inside.test",)
    assert allowed_for(["127.0.0.1"]) == ("127.0.0.1", *LOOPBACK)
    assert allowed_for(["OWN.test"]) == ("own.test", *LOOPBACK)
    assert allowed_for(["10.0.0.7"]) == ("10.0.0.7",)
    assert allowed_for(["evil.test", "8.8.8.8", "no such name"]) == ()


def test_pipes_devices_and_folders_are_no_files(tmp_path: Path) -> None:
    pipe = tmp_path / "catalog.json"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(NotRegularFile, match="a pipe or a device"):
            read_regular(path)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"here")
    assert read_regular(tmp_path / "link") == b"here"
