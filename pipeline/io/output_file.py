"""The place of a single file that a command writes: a path, or an s3:// URL."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url


def output_place(target: str, endings: Sequence[str], what: str) -> tuple[Store, str]:
    """The folder or prefix of a file to write, and the file's name in it.

    Args:
        target: A path, or an s3:// URL.
        endings: Those that the name may have, in lower case; the first is shown as an example.
        what: The kind of file in words, "GeoTIFF".

    Raises:
        OutputError: The target is no place for such a file.
    """
    whole = Store(target)  # which refuses the addresses that are none of a file
    folder, _, name = whole.root.rpartition("/")
    if not name.lower().endswith(tuple(endings)):
        told = " or ".join(endings)
        raise OutputError(
            public_url(target), f"this is no name of a {what} ({told})", f"Write …/map{endings[0]}"
        )
    if whole.is_remote and not folder.removeprefix("s3:").strip("/"):
        example = f"Write s3://bucket/map{endings[0]}"
        raise OutputError(public_url(target), "it names no bucket", example)
    if not whole.is_remote and Path(whole.root).is_dir():
        raise OutputError(
            public_url(target), "this is a folder", f"Name a file in it, map{endings[0]}"
        )
    return Store(folder or "/"), name
