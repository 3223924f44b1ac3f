"""Where a catalogue comes from, which decides what it may lead to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from models.files.json_text import parse_json
from models.files.regular_file import regular_file
from models.option import user_path
from pipeline.catalog.description import CatalogDescription, is_table
from pipeline.catalog.json_client import is_web
from pipeline.errors import CatalogError
from pipeline.io.network_rules import NetworkRules, allowed_for, plain_host
from pipeline.io.redaction import expanded
from pipeline.raster.access import Access
from pipeline.settings.sections import NetworkSettings

_ORIGIN_KEY = b"timesen:origin"


@dataclass(frozen=True)
class CatalogOrigin:
    """Where the items of a catalogue come from.

    Attributes:
        of_web: They are of the web; else a path of this machine names them.
        hosts: The hosts that the user has named: of the catalogue, its signatures, its storage.
    """

    of_web: bool
    hosts: tuple[str, ...] = ()


def origin_of(description: CatalogDescription) -> CatalogOrigin:
    """The origin of a catalogue; of a table of items, that of the catalogue that was searched."""
    if is_table(description.url):
        return _origin_in(description.url) or CatalogOrigin(of_web=False)
    try:
        url = expanded(description.url)
    except CatalogError:  # the search says so; a run that goes on needs no search
        url = description.url
    access = description.access
    addresses = (url, access.token_url or "", access.endpoint or "")
    hosts = tuple(filter(None, map(_host_of, addresses)))
    return CatalogOrigin(is_web(url), hosts)


def _host_of(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:  # the search says so
        return None


def rules_of(description: CatalogDescription, network: NetworkSettings) -> NetworkRules:
    """What the network may be asked for by a catalogue; looks up the hosts that the user named."""
    origin = origin_of(description)
    named = allowed_for(origin.hosts) if origin.of_web else ()
    return NetworkRules(
        of_web=origin.of_web,
        allowed=(*named, *map(plain_host, network.allowed_hosts)),
        largest_document=network.largest_document * 10**6,
        most_data=network.most_data * 10**6,
        most_documents=network.most_documents,
        most_pages=network.most_pages,
        most_depth=network.most_depth,
        least_rate=network.least_rate,
    )


def access_of(description: CatalogDescription, network: NetworkSettings) -> Access:
    """How the rasters of a catalogue are opened, under the rules of its origin."""
    return replace(description.access.access(), rules=rules_of(description, network))


def origin_metadata(description: CatalogDescription) -> Mapping[bytes, bytes]:
    """The metadata of a table of items that keep the origin of a catalogue of the web."""
    origin = origin_of(description)
    return {_ORIGIN_KEY: json.dumps({"hosts": origin.hosts}).encode()} if origin.of_web else {}


def _origin_in(table: str) -> CatalogOrigin | None:
    """The origin that a table of items keeps; None where it keeps none, or is unreadable."""
    try:
        with regular_file(user_path(table)) as file:
            kept = (pq.read_schema(file).metadata or {}).get(_ORIGIN_KEY)
        if kept is None:
            return None
        return CatalogOrigin(True, tuple(str(host) for host in parse_json(kept)["hosts"]))
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError):
        return None
