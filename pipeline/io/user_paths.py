"""The meaning of a text in settings: MGRS tiles, a shipped name, or a path."""

import re
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path

from models.option import WINDOWS_PATH, user_path

_TILE_NAMES = re.compile(r"\s*T?\d{1,2}[A-Z]{3}(\s*,\s*T?\d{1,2}[A-Z]{3})*\s*", re.IGNORECASE)


def names_tiles(text: str) -> bool:
    """Whether the text is one or several MGRS tile names, "31UFS,T31UGS"; they may be no tiles."""
    return _TILE_NAMES.fullmatch(text) is not None


_SHIPPED = {
    "checkpoint": ("models", "checkpoints/{}/card.json"),
    "vocabulary": ("models", "vocabularies/{}.toml"),
    "catalog.url": ("pipeline", "catalogs/{}.toml"),
    "prices": ("pipeline", "prices/{}.toml"),
}


def is_shipped_name(setting: str, text: str) -> bool:
    """Whether the text is the name of something that comes with timesen.

    Such a name never means a file or folder: a path is written with a slash or an ending.

    `setting` is the setting with this value, such as "checkpoint" or "catalog.url".
    """
    if setting not in _SHIPPED or re.fullmatch(r"[\w-]{1,60}", text) is None:
        return False
    package, place = _SHIPPED[setting]
    return files(package).joinpath(place.format(text)).is_file()


def foreign_address(text: str, schemes: Collection[str] = ()) -> str | None:
    """What is wrong with an address that is no path of this machine, or None.

    Args:
        text: A path or an address.
        schemes: The schemes that are supported, in lower case.

    Returns:
        The last but one part of an error's message.
    """
    if re.match(WINDOWS_PATH, text):
        return "a path of Windows, which this system does not have"
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", text)  # Path("gs://a") is gs:/a
    if found is None or found[1].lower() in schemes:
        return None
    supported = f"; these are: {', '.join(f'{name}://' for name in schemes)}" if schemes else ""
    return f"{found[1]}:// is not supported here{supported}"


def existing(text: str, folder: Path | None = None) -> Path | None:
    """The absolute path of the file or folder that a text names.

    Args:
        text: A path; "~" is expanded.
        folder: The start of a relative path; by default the process's working directory.

    Returns:
        None where nothing is there, or the text cannot be a path (too long, or with a zero byte).
    """
    try:
        path = ((folder or Path()) / user_path(text)).absolute()
        return path if text and path.exists() else None
    except (OSError, ValueError):
        return None


def existing_file(text: str) -> Path | None:
    """The absolute path of the file that a text names, with the layer of `file.gpkg#layer`.

    Returns:
        None where there is no such file.
    """
    file, layer = file_and_layer(Path(text))
    path = existing(str(file)) if text else None
    if path is None or not path.is_file():
        return None
    return path if layer is None else Path(f"{path}#{layer}")


def file_and_layer(path: Path) -> tuple[Path, str | None]:
    """The file that a path names, and its layer where the path is `file.gpkg#layer`, else None.

    A file may have "#" in its own name.
    """
    text = str(path)
    if existing(text) is None:
        for place in (place for place, sign in enumerate(text) if sign == "#"):
            file = existing(text[:place])
            if file is not None and file.is_file():
                return Path(text[:place]), text[place + 1 :]
    return path, None
