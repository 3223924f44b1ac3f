"""Files of tensors (safetensors), checked by their header before anything is read or allocated.

The format: 8 bytes with the length of the header, the header (JSON: dtype, shape and place of each
tensor), and the numbers of all tensors, without gaps (https://github.com/huggingface/safetensors).
A file can come from anybody, so its header is believed only where the file's size bears it out.
"""

import io
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from models.files.json_text import parse_json
from models.files.regular_file import DamagedFile, sized_file
from models.visible_text import is_visible

MOST_TENSORS = 10_000
"""The most tensors of a file: an encoder of 800 layers has as many."""
FLOATS = ("F16", "BF16", "F32", "F64")
"""The dtypes of weights, as a header names them."""

_MOST_HEADER = 8 * 2**20  # bytes
_MOST_AXES, _LONGEST_NAME = 8, 200
_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2} | {
    "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its dtype, as the header names it ("F32"), and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def read_tensor_file(
    path: Path, check: Callable[[Mapping[str, StoredTensor]], None] = lambda stored: None
) -> bytes:
    """The bytes of a file, whose tensors `check` has seen before they are read.

    Raises:
        DamagedFile: As `stored_tensors` does, or the file is a device or a pipe.
        OSError: It cannot be read.
    """
    with sized_file(path) as (file, size):
        check(_stored(file, size))
        file.seek(0)
        return file.read(size)


def stored_tensors(content: bytes) -> dict[str, StoredTensor]:
    """The tensors that a file's content has by its header, by their names.

    Raises:
        DamagedFile: The header is none, or says more or less than the content has.
    """
    return _stored(io.BytesIO(content), len(content))


def stored_in(path: Path) -> dict[str, StoredTensor]:
    """The same of a file, of which only the header is read; also raises OSError."""
    with sized_file(path) as (file, size):
        return _stored(file, size)


def _stored(file: BinaryIO, size: int) -> dict[str, StoredTensor]:
    head = file.read(8)
    if len(head) < 8:
        raise DamagedFile(f"it has {size:,} bytes, and so no header")
    (length,) = struct.unpack("<Q", head)
    if length > min(_MOST_HEADER, size - 8):
        raise DamagedFile(
            f"its header would have {length:,} bytes, where the file has {size:,} and a header "
            f"{_MOST_HEADER:,} or fewer"
        )
    try:
        header = parse_json(file.read(length))
    except ValueError as error:
        raise DamagedFile(f"its header is no JSON ({type(error).__name__})") from None
    if not isinstance(header, dict):
        raise DamagedFile("its header is no object")
    header.pop("__metadata__", None)
    if len(header) > MOST_TENSORS:
        raise DamagedFile(f"it has {len(header):,} tensors, and may have {MOST_TENSORS:,}")
    places = []
    stored = {}
    for name, entry in header.items():
        if not is_visible(name) or len(name) > _LONGEST_NAME:
            raise DamagedFile("its header has names that are no names")
        stored[name], place = _entry(name, entry)
        places.append(place)
    _require_covered(places, size - 8 - length)
    return stored


def _entry(name: str, entry: Any) -> tuple[StoredTensor, tuple[int, int]]:
    """A tensor of the header, and the places of its first byte and behind its last."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]} if (
            dtype in _BYTES
            and len(shape) <= _MOST_AXES
            and all(type(number) is int and 0 <= number < 2**48 for number in (*shape, begin, end))
        ):
            tensor = StoredTensor(dtype, tuple(shape))
            if tensor.count * _BYTES[dtype] == end - begin:
                return tensor, (begin, end)
    raise DamagedFile(f"its header contradicts itself about {name}")


def _require_covered(places: list[tuple[int, int]], size: int) -> None:
    """Raise DamagedFile unless the tensors fill so many bytes, one behind the other."""
    covered = 0
    for begin, end in sorted(places):
        if begin != covered:
            raise DamagedFile("tensors in its header overlap or leave gaps")
        covered = end
    if covered != size:
        raise DamagedFile(
            f"its header speaks of {covered:,} bytes of numbers, the file has {size:,}"
        )
