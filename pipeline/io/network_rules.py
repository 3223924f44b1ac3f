"""What a catalogue may lead to, and how much a server may send."""

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = ("127.0.0.0/8", "::1/128")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# GDAL puts a bucket's name into an address as it is.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_UNFIT = re.compile(r"[\\\x00-\x20\x7f]")
_HOST = re.compile(r"(?!-)[\w-]+(\.[\w-]+)*\.?")
HOSTS_SETTING = "allowed_hosts under [network]"


@dataclass(frozen=True)
class NetworkRules:
    """What is asked of the network for one catalogue.

    Attributes:
        of_web: The catalogue is of the web. It leads to web and S3 addresses only, and only to
            public ones. A catalogue on this machine may lead to all that its user may open.
        allowed: Names of hosts, addresses and networks that need not be public.
        largest_document: Bytes of one document, uncompressed.
        most_data: Bytes of all documents of a search, uncompressed.
        most_documents: Documents of a search.
        most_pages: Pages of a list of a STAC API.
        most_depth: Levels of a static catalogue.
        least_rate: Bytes a second that a server must send while it is waited for.
        rate_seconds: Seconds of waiting over which this rate is taken.
    """

    of_web: bool = False
    allowed: tuple[str, ...] = ()
    largest_document: int = 256 * 10**6
    most_data: int = 8 * 10**9
    most_documents: int = 200_000
    most_pages: int = 10_000
    most_depth: int = 50
    least_rate: float = 1000.0
    rate_seconds: float = 60.0

    def problem(self, href: str) -> str | None:
        """Why a document or raster at an href must not be opened, or None.

        Names of hosts are not resolved here: `pipeline.raster.http_client` does so when it
        connects.
        """
        if not self.of_web:
            return None
        try:
            parts = urlsplit(href)
            scheme, host = parts.scheme, parts.hostname or ""
            _ = parts.port
        except ValueError:
            return "it is no address"
        if _UNFIT.search(parts.netloc):  # others might take another part of it for the host
            return "it is no address"
        if scheme == "s3":
            return None if _BUCKET.fullmatch(parts.netloc) else "it names no bucket"
        if scheme not in ("http", "https"):
            return "a catalogue of the web may lead to http(s):// and s3:// addresses only"
        return self.host_problem(host)

    def host_problem(self, host: str) -> str | None:
        """Why a host must not be connected to, as far as its name tells."""
        if not self.of_web or plain_host(host) in self.allowed:
            return None
        literal = literal_address(host)
        if literal is None and is_loopback_name(host):
            literal = ipaddress.IPv4Address("127.0.0.1")
        return None if literal is None or self.allows(literal) else self._not_public(host)

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to, in the system's order.

        Raises:
            OSError: The name is unknown.
            ForbiddenAddress: It has addresses, but none that is allowed.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self.of_web or plain_host(host) in self.allowed:
            return addresses
        kept = [text for text in addresses if self.allows(_parsed(text))]
        if not kept:
            raise ForbiddenAddress(self._not_public(host))
        return kept

    def allows(self, address: IPAddress) -> bool:
        """Whether an address is public, or one that is allowed."""
        if not self.of_web or is_public(address):
            return True
        return any(address in network for network in map(_network, self.allowed) if network)

    @staticmethod
    def _not_public(host: str) -> str:
        return (
            f"{host} is not on the public internet; if its catalogue may lead there, name the host "
            f"or its network in {HOSTS_SETTING}"
        )


UNRESTRICTED = NetworkRules()
"""The rules of what a user names."""
ANY_HOST = NetworkRules(of_web=True, allowed=("0.0.0.0/0", "::/0"))
"""Web and S3 addresses of any host, but no file of this machine."""


class ForbiddenAddress(Exception):
    """A host has no address that may be connected to; its text says why."""


def is_host_or_network(text: str) -> bool:
    """Whether a text can stand in `NetworkRules.allowed`."""
    return _network(text) is not None or _HOST.fullmatch(text) is not None


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def plain_host(host: str) -> str:
    """A host as `NetworkRules.allowed` has it: in small letters, without a dot at its end."""
    return unicodedata.normalize("NFKC", host).lower().rstrip(".")


def literal_address(host: str) -> IPAddress | None:
    """The address that a host is written as, also in short forms such as 127.1; None for a name."""
    plain = plain_host(host)
    try:
        return _parsed(plain)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(plain))
    except (OSError, ValueError, UnicodeError):
        return None


def is_loopback_name(host: str) -> bool:
    """Whether a name means this machine, whoever resolves it."""
    name = plain_host(host)
    return name == "localhost" or name.endswith(".localhost")


def allowed_for(hosts: Iterable[str]) -> tuple[str, ...]:
    """What need not be public of a catalogue whose user has named these hosts.

    Those that have no public address; and if one is of this machine, the whole loopback. A name
    with public addresses is none of these: its owner could let it lead elsewhere later.
    """
    allowed: dict[str, None] = {}
    for host in hosts:
        name = plain_host(host)
        found = _addresses_of(name)
        if not found or any(is_public(address) for address in found):
            continue
        allowed[name] = None
        if any(address.is_loopback for address in found):
            allowed |= dict.fromkeys(LOOPBACK)
    return tuple(allowed)


def _addresses_of(host: str) -> list[IPAddress]:
    if (literal := literal_address(host)) is not None:
        return [literal]
    try:
        return [_parsed(str(entry[4][0])) for entry in socket.getaddrinfo(host, None)]
    except (OSError, UnicodeError, ValueError):
        return []


def _parsed(text: str) -> IPAddress:
    return ipaddress.ip_address(text.partition("%")[0])  # fe80::1%eth0


def _network(text: str) -> IPNetwork | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
