"""Photos taken on the ground: how they are listed by point and embedded."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from models.towers.image_tower import ClipImageTower
from pipeline.errors import DatasetError
from pipeline.ground_views.table import ground_rows, key_of
from pipeline.io.store import Store, public_url
from pipeline.io.tables import has_column, read_columns

if TYPE_CHECKING:
    from PIL.Image import Image

PHOTO_COLUMNS = ("photo", "id")
"""The columns of a table of photos; `view` and `class` are optional."""

_LUCAS = re.compile(r"(?P<id>[A-Z]{2}_\d+)(?P<view>[NESW])\.jpe?g", re.IGNORECASE)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
_AT_ONCE = 32  # photos that are decoded and go through the tower together


@dataclass(frozen=True, order=True)
class Photo:
    """A photo at a key of a store.

    Attributes:
        id: The point's id, or its `photo_key`.
        view: The name of the view of this point.
        key: The photo's key.
        depicts: The subject; photos of the same subject are not negatives of each other.
    """

    id: str
    view: str
    key: str
    depicts: str | None = None


def lucas_photos(source: Store) -> tuple[list[Photo], int]:
    """The photos in a folder that are named as in LUCAS: `<nuts0>_<point id><N|E|S|W>.jpg`.

    Returns:
        The photos, sorted, with ids `<nuts0>_<point id>`; and how many other photos there are, such
        as those of the point itself.

    Raises:
        DatasetError: There is no such photo, or a view of a point has several.
    """
    place = public_url(source.root)
    photos, others = [], 0
    for key in source.keys(""):
        if name := _LUCAS.fullmatch(key.rpartition("/")[2]):
            photos.append(Photo(name["id"].upper(), name["view"].upper(), key))
        else:
            others += key.lower().endswith(_SUFFIXES)
    if not photos:
        raise DatasetError(
            place,
            f"no photo in it has a name as in LUCAS, and {others} have other names",
            "Name them <nuts0>_<point id><N|E|S|W>.jpg, as FR_38062414N.jpg, or give a table of "
            "photos (--table)",
        )
    return _distinct(photos, place), others


def table_photos(path: Path) -> list[Photo]:
    """The photos of a table with columns `photo` and `id`, sorted.

    `photo` is the key in the folder of photos, `id` the point's id or its `photo_key`. A column
    `view` names the view (default: the photo's key), `class` the subject.

    Raises:
        DatasetError: A row has no photo or no id, or a view of a point has several photos.
    """
    more = [name for name in ("view", "class") if has_column(path, name)]
    columns = read_columns(path, [*PHOTO_COLUMNS, *more])
    keys, ids = columns["photo"], columns["id"]
    none = [None] * len(keys)
    photos = []
    for row, (key, name, view, depicts) in enumerate(
        zip(keys, ids, columns.get("view", none), columns.get("class", none), strict=True), 1
    ):
        if key is None or name is None:
            raise DatasetError(
                str(path),
                f"row {row} names no {'photo' if key is None else 'point'}",
                "Name in every row a photo and the point (or photo key) that it belongs to",
            )
        photos.append(Photo(name, view or key, key, depicts))
    return _distinct(photos, str(path))


def embed_photos(
    source: Store, photos: Sequence[Photo], tower: ClipImageTower
) -> tuple[pa.Table, dict[str, str]]:
    """Embed photos, of which few are in memory at once.

    Returns:
        Rows of a ground table, and the reasons why other photos cannot be read, by key.
    """
    unreadable: dict[str, str] = {}
    kept: list[Photo] = []
    embeddings = [np.empty((0, tower.dim), np.float32)]
    for start in range(0, len(photos), _AT_ONCE):
        images = []
        for photo, image in _decoded(source, photos[start : start + _AT_ONCE]):
            if isinstance(image, str):
                unreadable[photo.key] = image
            else:
                kept.append(photo)
                images.append(image)
        embeddings.append(tower.embed(images))
    rows = ground_rows(
        [photo.id for photo in kept],
        [photo.view for photo in kept],
        np.concatenate(embeddings),
        [key_of(photo.depicts) for photo in kept],
    )
    return rows, unreadable


def decoded(content: bytes) -> "Image | str":
    """The photo in a file, RGB and upright, or the reason why there is none.

    A photo is rotated as its EXIF data say.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on damaged metadata: the photo may be whole
            with Image.open(io.BytesIO(content)) as image:
                return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        return "not a photo" if content else "an empty file"
    except Image.DecompressionBombError:
        return "too large: it has more pixels than a photo"
    except Exception as error:  # Pillow's plugins raise many kinds for damaged files
        return f"damaged: {str(error) or type(error).__name__}"


def _decoded(source: Store, photos: Sequence[Photo]) -> Iterator[tuple[Photo, "Image | str"]]:
    contents: Mapping[str, bytes] = dict(source.read_many({photo.key for photo in photos}))
    for photo in photos:
        content = contents.get(photo.key)
        yield photo, "there is no such file" if content is None else decoded(content)


def _distinct(photos: Sequence[Photo], place: str) -> list[Photo]:
    """The photos, sorted. Raises DatasetError if a view of a point has several."""
    ordered = sorted(photos, key=lambda photo: (photo.id, photo.view, photo.key))
    twice = [
        (one, other)
        for one, other in pairwise(ordered)
        if (one.id, one.view) == (other.id, other.view)
    ]
    if twice:
        one, other = twice[0]
        raise DatasetError(
            place,
            f"{len(twice)} views have several photos, for one {one.view} of {one.id}: "
            f"{one.key} and {other.key}",
            "Keep one photo of each view of a point",
        )
    return ordered
