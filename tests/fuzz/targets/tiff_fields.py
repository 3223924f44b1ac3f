"""TIFF files taken apart into the fields of their first directory, and put together again."""

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.fuzz.mutate import NUMBERS

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}
_FORMS = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d",
          16: "Q", 17: "q"}  # fmt: skip
# Tags of TIFF, GeoTIFF and GDAL that say how pixels are stored, and a few that say nothing.
_TAGS = (
    *(254, 255, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 284, 296, 317, 320),
    *(322, 323, 324, 325, 330, 338, 339, 340, 347, 512, 530, 33550, 33922, 34264, 34735, 34736),
    *(34737, 42112, 42113, 50674, 50844, 65000),
)
_SMALL = (0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 32, 64, 128, 256, 32773, 32946, 50000, 50001, 34712)


@dataclass(frozen=True)
class Field:
    """An entry of a directory: its tag, its type, the number of values, and their bytes."""

    tag: int
    kind: int
    count: int
    content: bytes

    def with_number(self, place: int, value: int) -> "Field":
        """The field with one of its numbers changed, as far as its type holds it."""
        size = _SIZES.get(self.kind, 1)
        raw = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        start = place % max(1, len(self.content) // size) * size
        content = self.content[:start] + raw + self.content[start + size :]
        return Field(self.tag, self.kind, self.count, content)


def first_directory(content: bytes) -> tuple[list[Field], int]:
    """The fields of the first directory of a little-endian file, and the place of the next."""
    big = content[2] == 43
    (start,) = struct.unpack_from("<Q" if big else "<I", content, 8 if big else 4)
    (entries,) = struct.unpack_from("<Q" if big else "<H", content, start)
    start += 8 if big else 2
    size, inline = (20, 8) if big else (12, 4)
    fields = []
    for place in range(start, start + entries * size, size):
        tag, kind, count = struct.unpack_from("<HHQ" if big else "<HHI", content, place)
        length, at = count * _SIZES.get(kind, 1), place + size - inline
        if length > inline:
            (at,) = struct.unpack_from("<Q" if big else "<I", content, at)
        fields.append(Field(tag, kind, count, content[at : at + length]))
    (following,) = struct.unpack_from("<Q" if big else "<I", content, start + entries * size)
    return fields, following


def with_directory(content: bytes, fields: Sequence[Field], following: int) -> bytes:
    """The file with these fields as its first directory, which is written at the end."""
    big = content[2] == 43
    inline, form = (8, "<HHQ") if big else (4, "<HHI")
    written = bytearray(content + b"\0" * (-len(content) % 8))
    entries = b""
    for field in fields:
        value = field.content[:inline].ljust(inline, b"\0")
        if field.count * _SIZES.get(field.kind, 1) > inline:
            value = len(written).to_bytes(inline, "little")
            written += field.content + b"\0" * (-len(field.content) % 8)
        entries += struct.pack(form, field.tag, field.kind, field.count) + value
    start = len(written)
    written += struct.pack("<Q" if big else "<H", len(fields)) + entries
    written += struct.pack("<Q" if big else "<I", following)
    struct.pack_into("<Q" if big else "<I", written, 8 if big else 4, start)
    return bytes(written)


def changed_fields(content: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """The file with some fields of its first directory changed, lost, added or exchanged."""
    fields, following = first_directory(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        place = draw.randrange(len(fields))
        field, action = fields[place], draw.randrange(9)
        if action < 3:
            fields[place] = field.with_number(draw.randrange(4096), _number(draw, field))
        elif action == 3:
            del fields[place]
        elif action == 4:
            wider = (field.tag, draw.choice(list(_SIZES)), field.count, field.content)
            fields[place] = Field(*wider)
        elif action == 5:
            count = draw.choice((0, 1, field.count + 1, max(0, field.count - 1), 2**31, 2**20))
            fields[place] = Field(field.tag, field.kind, count, field.content)
        elif action == 6:
            tag, value = draw.choice(_TAGS), draw.choice(_SMALL)
            fields.append(Field(tag, 3, 1, struct.pack("<H", value & 0xFFFF)))
            if draw.random() < 0.8:
                fields.sort(key=lambda one: one.tag)
        elif action == 7:
            fields[place] = draw.choice(first_directory(draw.choice(others))[0])
        else:
            following = draw.choice((0, 8, len(content), 2**31, following + 4))
    return with_directory(content, fields, following & 0xFFFFFFFF)


def _number(draw: random.Random, field: Field) -> int:
    if field.kind == 12:
        value = struct.pack("<d", float(draw.choice([n for n in NUMBERS if abs(n) < 1e300])))
        return int.from_bytes(value, "little")
    return draw.choice((*_SMALL, -1, 2**31, 2**16 - 1, draw.getrandbits(32), 4326, 32632))
