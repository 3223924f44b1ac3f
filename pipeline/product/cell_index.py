"""The index of a run's committed cells on object storage: their items in one file.

A cell is finished by its STAC item, and nothing else. The index saves a request for each of
thousands of items: it has, beside a copy of what is needed of each, the item's ETag, and counts
only where the listing of the folder shows the same one. It can be removed at any time.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from models.files.json_text import parse_json
from pipeline.io.store import Store
from pipeline.layout import claims_folder

_LEAST_NEW = 100  # items that are read one by one sooner than the index is written anew

IndexedItem = tuple[str, dict[str, Any]]
"""An item's ETag, and the item."""


def read_index(store: Store, run_fingerprint: str) -> dict[str, IndexedItem]:
    """The items in a run's index, by key; empty where there is none, and for a folder."""
    found: dict[str, IndexedItem] = {}
    if not store.is_remote:
        return found
    for _, content in store.read_many([_key(run_fingerprint)]):
        try:
            for line in gzip.decompress(content).splitlines():
                key, tag, item = parse_json(line)
                found[str(key)] = str(tag), item
        except (ValueError, TypeError, OSError, EOFError, zlib.error):
            return {}  # damaged: all items are read
    return found


def write_index(
    store: Store,
    run_fingerprint: str,
    tags: Mapping[str, str],
    items: Iterable[tuple[str, dict[str, Any]]],
    new: int,
) -> None:
    """Write a run's index, if enough of its items are `new` in it; nothing for a folder.

    Args:
        store: The run's folder.
        run_fingerprint: The run.
        tags: The ETags by key, as listed before the items were read.
        items: The items by key.
        new: How many of the items were not in the index.
    """
    if not store.is_remote or new < _LEAST_NEW:
        return
    lines = (json.dumps([key, tags[key], item]) for key, item in items if tags.get(key))
    text = "".join(f"{line}\n" for line in lines)
    store.write(_key(run_fingerprint), gzip.compress(text.encode(), 1, mtime=0))


def _key(run_fingerprint: str) -> str:
    return f"{claims_folder(run_fingerprint)}/cells.jsonl.gz"
