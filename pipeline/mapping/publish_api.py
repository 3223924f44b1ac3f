"""The publication of a run at a STAC API: its collection and its items, with absolute addresses."""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from models.files.json_text import parse_json
from pipeline.catalog.transactions import TransactionApi
from pipeline.errors import CatalogError, OutputError
from pipeline.io.redaction import require_public_url
from pipeline.io.store import Store, public_url
from pipeline.layout import CELLS, COLLECTION_FILE
from pipeline.product.cell_copy import published_item, read_item
from pipeline.product.cell_report import PREFIX
from pipeline.product.manifest import RunManifest
from pipeline.product.stac import collection_id
from pipeline.product.stac_renders import RENDER_EXTENSION, renders_of

_BATCH = 20  # items of a request, of some 30 kB each
_AT_ONCE = 4  # requests
_OWN_LINKS = ("root", "parent", "self", "collection", "item", "items")
"""The relations of links that a STAC API makes itself."""


def files_address(href: str | None, store: Store) -> str:
    """The address under which readers find the files of a run, with "/" at the end.

    Args:
        href: What the user gives.
        store: The folder or bucket of the files; its address counts where nothing is given.

    Raises:
        OutputError: It is no address of the web or of S3, or shows a secret.
    """
    if href is None:
        if store.is_remote:
            return f"{store.root.rstrip('/')}/"
        raise OutputError(
            store.root,
            "readers of a STAC API cannot open files of this machine",
            "Copy them to a bucket with --to s3://bucket/prefix, or give the address at which they "
            "are served: --href https://maps.example.org/run/",
        )
    given = f"--href {public_url(href)}"
    example = "Give an address such as https://maps.example.org/run/ or s3://bucket/prefix"
    try:
        require_public_url(href)
        parts = urlsplit(href)
    except ValueError as error:
        raise OutputError(given, str(error), example) from None
    if parts.scheme not in ("https", "http", "s3") or not parts.netloc or "${" in href:
        raise OutputError(given, "this is no address of the web or of S3", example)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise OutputError(
            given, "items keep it, so it has no user, password, query or fragment", example
        )
    return f"{href.rstrip('/')}/"


def own_collection(api: TransactionApi, run: RunManifest, name: str | None) -> tuple[str, bool]:
    """The id of the run's collection at an API, and whether it is there already.

    Raises:
        CatalogError: A collection of that id is of another run, or the API refuses.
        OutputUnwritable: It cannot be reached.
    """
    own = collection_id(run) if name is None else name
    found = api.collection(own)
    if found is None:
        return own, False
    summaries = found.get("summaries")
    prints = summaries.get(f"{PREFIX}fingerprint") if isinstance(summaries, dict) else None
    if not (isinstance(prints, list) and run.fingerprints.intersection(map(str, prints))):
        raise CatalogError(
            f"collection {own} at {api.location}",
            "it is there already, and of another run or no run of timesen",
            "Give another id with --id",
        )
    return own, True


def publish_at_api(
    store: Store,
    items: Sequence[Mapping[str, Any]],
    api: TransactionApi,
    own: tuple[str, bool],
    base: str,
    *,
    title: str | None = None,
    embeddings: bool = False,
    prune: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> int:
    """Create or replace the collection and the items of a published run at a STAC API.

    Args:
        store: The run's folder.
        items: Its finished cells, as `mapped_items` has them.
        api: The API.
        own: The collection's id, and whether it is there (`own_collection`).
        base: The address of the run's files, with "/" at the end (`files_address`).
        title: The collection's title, in place of its own.
        embeddings: Whether items have the assets of kept embeddings.
        prune: Whether items are removed that the run no longer has.
        progress: Called with the number of items that are written, and of all.

    Returns:
        The number of items that were removed.

    Raises:
        CatalogError: The API refuses.
        OutputError: An item of the run has gone meanwhile.
        OutputUnwritable: The API cannot be reached, or fails.
    """
    name, exists = own
    described = parse_json(store.read(COLLECTION_FILE))
    renders = described.get("renders", {})
    api.put_collection(api_collection(described, name, base, title), exists=exists)
    cells = [(str(item["properties"][f"{PREFIX}tile"]), str(item["id"])) for item in items]

    def put(batch: Sequence[tuple[str, str]]) -> int:
        whole = (published_item(read_item(store, *cell), embeddings=embeddings) for cell in batch)
        ready = [
            api_item(one, name, base, tile, renders)
            for one, (tile, _) in zip(whole, batch, strict=True)
        ]
        api.put_items(ready, exist=exists)
        return len(batch)

    done = 0
    batches = [cells[start : start + _BATCH] for start in range(0, len(cells), _BATCH)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for count in pool.map(put, batches):
                done += count
                progress(done, len(cells))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if not (prune and exists):
        return 0
    others = sorted(set(api.item_ids(name)) - {cell for _, cell in cells})
    for other in others:
        api.remove_item(name, other)
    return len(others)


def api_collection(
    document: Mapping[str, Any], name: str, base: str, title: str | None = None
) -> dict[str, Any]:
    """A run's collection as a STAC API takes it: of an id, with absolute addresses, no items."""
    own = {
        **document,
        "id": name,
        "links": _links(document, base, ""),
        "assets": _assets(document, base, ""),
    }
    return own if title is None else {**own, "title": title}


def api_item(
    item: Mapping[str, Any],
    collection: str,
    base: str,
    tile: str,
    renders: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """A cell's item as a STAC API takes it: of a collection, with absolute addresses, and drawn."""
    folder = f"{CELLS}/{tile}/{item['id']}/"
    drawn = renders_of(renders, item["assets"])
    return {
        **item,
        "stac_extensions": [*item["stac_extensions"], *([RENDER_EXTENSION] if drawn else ())],
        "properties": {**item["properties"], **({"renders": drawn} if drawn else {})},
        "collection": collection,
        "assets": _assets(item, base, folder),
        "links": _links(item, base, folder),
    }


def _assets(document: Mapping[str, Any], base: str, folder: str) -> dict[str, Any]:
    return {
        key: {**asset, "href": _absolute(str(asset["href"]), base, folder)}
        for key, asset in document.get("assets", {}).items()
    }


def _links(document: Mapping[str, Any], base: str, folder: str) -> list[dict[str, Any]]:
    return [
        {**link, "href": _absolute(str(link["href"]), base, folder)}
        for link in document.get("links", [])
        if link.get("rel") not in _OWN_LINKS
    ]


def _absolute(href: str, base: str, folder: str) -> str:
    """An href in a document of the run's folder as an address."""
    if "://" in href:
        return href
    return f"{base}{posixpath.normpath(posixpath.join(folder, href))}"
