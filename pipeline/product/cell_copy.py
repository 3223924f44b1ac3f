"""A cell of a run that is copied elsewhere: its rasters, and then the item that describes them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from models.files.json_text import parse_json
from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEM, cell_key
from pipeline.product.layers import layer_of_asset

_PIECE = 32 * 2**20  # bytes of a file that are in memory at once


def published_item(item: Mapping[str, Any], *, embeddings: bool) -> dict[str, Any]:
    """A cell's item without the assets that are not copied."""
    assets = {k: v for k, v in item["assets"].items() if embeddings or not is_of_block(k)}
    return {**item, "assets": assets}


def read_item(store: Store, tile: str, cell: str) -> dict[str, Any]:
    """The item of a cell that is finished; raises OutputError where it has gone meanwhile."""
    key = cell_key(tile, cell, ITEM)
    try:
        item = parse_json(store.read(key))
        if all(isinstance(asset["href"], str) for asset in item["assets"].values()):
            return dict(item)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise OutputError(
        public_url(store.path(key)),
        "the cell's item has gone or changed meanwhile",
        "Publish again",
    )


def is_of_block(asset: str) -> bool:
    """Whether an asset is one of kept embeddings, of which each block of a cell has a file."""
    try:
        return layer_of_asset(asset).per_block
    except KeyError:
        return False


def copy_cell(
    source: Store,
    target: Store,
    cell: tuple[str, str],
    here: Mapping[str, int],
    there: Mapping[str, int],
    written: Callable[[int], None],
    *,
    embeddings: bool,
) -> None:
    """Copy the files of a cell, its item last.

    An item that is there is removed before rasters that it describes are replaced.

    Args:
        source: The run's folder.
        target: Where to.
        cell: The names of its tile and of itself.
        here: Bytes of its files in the run's folder, by key.
        there: Bytes of all files of cells that are at the target, by key.
        written: Called with the bytes of each file that is written.
        embeddings: Whether its kept embeddings are copied, too.

    Raises:
        OutputError: A raster is not what the item says, or the item has gone.
        OutputUnwritable: A place cannot be read or written.
    """
    whole = read_item(source, *cell)
    item = published_item(whole, embeddings=embeddings)
    text = (json.dumps(item, indent=1, ensure_ascii=False) + "\n").encode()
    left_out = {
        asset["href"] for key, asset in whole["assets"].items() if key not in item["assets"]
    }
    folder = cell_key(*cell, "")
    key = f"{folder}{ITEM}"
    sizes = {
        name: size
        for name, size in here.items()
        if name != key and f"./{name.removeprefix(folder)}" not in left_out
    }
    old = _old_item(target, key) if key in there else None
    if old == text and all(there.get(name) == size for name, size in sizes.items()):
        return
    checksums = {
        f"{folder}{asset['href'].removeprefix('./')}": str(asset["file:checksum"])
        for asset in item["assets"].values()
        if "file:checksum" in asset
    }
    known = _checksums(old, folder)
    wanted = [
        name
        for name, size in sizes.items()
        if there.get(name) != size or name not in known or known[name] != checksums.get(name)
    ]
    if old is not None:
        target.remove(key)
    for name in wanted:
        written(_send(source, target, name, sizes[name], checksums.get(name)))
    target.write(key, text)
    written(len(text))


def _old_item(target: Store, key: str) -> bytes | None:
    try:
        return target.read(key)
    except FileNotFoundError:
        return None


def _checksums(item: bytes | None, folder: str) -> dict[str, str]:
    """The checksums in an item that is at the target, by key."""
    try:
        assets = parse_json(item or b"")["assets"].values()
        return {f"{folder}{one['href'].removeprefix('./')}": one["file:checksum"] for one in assets}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _send(source: Store, target: Store, key: str, size: int, checksum: str | None) -> int:
    """Copy a file; its bytes. A large one goes piece by piece."""
    if size <= _PIECE:
        content = source.read(key)
        _require_checksum(source, key, hashlib.sha256(content).hexdigest(), checksum)
        target.write(key, content)
        return len(content)
    digest = hashlib.sha256()
    with target.new_file(key) as path:
        with path.open("wb") as file:
            for start in range(0, size, _PIECE):
                piece = source.read_range(key, start, min(_PIECE, size - start))
                digest.update(piece)
                file.write(piece)
        _require_checksum(source, key, digest.hexdigest(), checksum)
    return size


def _require_checksum(source: Store, key: str, sha256: str, checksum: str | None) -> None:
    if checksum is not None and checksum != f"1220{sha256}":
        raise OutputError(
            public_url(source.path(key)),
            "the raster is not the one that its cell's item describes: it is damaged, or the run "
            "maps the cell anew right now",
            "Publish again when the run has ended; or remove the cell's item and start the run "
            "again, which maps the cell anew",
        )
