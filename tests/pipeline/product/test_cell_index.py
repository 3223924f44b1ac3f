"""The index of committed cells, on a real S3 server."""

import gzip
from typing import Any

import pytest
import s3fs

from pipeline.io.store import Store
from pipeline.layout import ITEM, cell_key
from pipeline.product import cell_index
from pipeline.product.committed_cells import finished_ids, index_cells, mapped_items
from tests.pipeline.made_run import MadeRun, make_run
from tests.s3_server import s3

__all__ = ["s3"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the objects that are read."""
    keys: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def noted(self: Any, method: str, *given: Any, **named: Any) -> Any:
        if method in ("get_object", "head_object"):
            keys.append(named["Key"])
        return await call(self, method, *given, **named)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", noted)
    return keys


def test_the_index_saves_requests_and_is_never_believed_against_the_cells(
    s3: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_index, "_LEAST_NEW", 1)
    made: MadeRun = make_run(f"{s3}/index", cell_size=256)
    store, run = made.store, made.run
    items = mapped_items(store, run)
    assert len(items) == len(made.cells) > 3
    asked.clear()
    assert index_cells(store, run) == items
    assert sum(key.endswith(ITEM) for key in asked) == len(items)
    asked.clear()
    assert index_cells(store, run) == mapped_items(store, run) == items
    assert finished_ids(store, run.fingerprint) == {cell.id for cell in made.cells}
    assert not [key for key in asked if key.endswith(ITEM)]

    first, second, third = made.cells[:3]
    keys = [cell_key(cell.tile.name, cell.id, ITEM) for cell in made.cells[:3]]
    changed = store.read(keys[0]).replace(b"\n", b" \n", 1)
    store.write(keys[0], changed)  # another ETag: it is read again
    store.write(keys[1], store.read(keys[1]).replace(run.fingerprint.encode(), b"0" * 64))
    store.remove(cell_key(third.tile.name, third.id, "class.tif"))
    asked.clear()
    finished = finished_ids(store, run.fingerprint)
    assert finished == {cell.id for cell in made.cells} - {second.id, third.id}
    assert first.id in finished
    assert [key for key in asked if key.endswith(ITEM)] == [f"index/{key}" for key in keys[:2]]

    (index,) = [key for key in store.keys("owners") if key.endswith(".gz")]
    whole, lines = store.read(index), gzip.compress(b'5\n["a"]\n')
    for damaged in (b"", b"no gzip", whole[:-9], whole[:10] + b"\xff" * 20, lines):
        store.write(index, damaged)
        assert finished_ids(store, run.fingerprint) == finished


def test_a_folder_has_none(tmp_path: Any) -> None:
    made = make_run(str(tmp_path / "run"), cell_size=512)
    assert index_cells(made.store, made.run) == mapped_items(made.store, made.run)
    assert not list(Store(str(tmp_path / "run")).keys("owners"))
