"""Tables larger than the memory: written to a scratch file, whose rows are taken in any order."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the length of the block, where TMPDIR says that there is room."""
    with tempfile.TemporaryDirectory(prefix="timesen-") as folder:
        yield Path(folder)


def spooled(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> pa.Table:
    """The tables one after the other as one, which lies in a file and not in memory."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for table in tables:
            writer.write_table(table)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
