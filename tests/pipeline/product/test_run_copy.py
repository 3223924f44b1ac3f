"""Copies of a run for readers, in a folder and on a real S3 server."""

import hashlib
import json
import shutil
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio

from pipeline.errors import OutputError, OutputUnwritable
from pipeline.io.store import Store
from pipeline.layout import ITEM, QGIS_PROJECT, RUN
from pipeline.product import cell_copy, run_copy
from pipeline.product.committed_cells import mapped_items
from pipeline.product.ledger import write_collection
from pipeline.product.mosaic import write_mosaics
from pipeline.product.qgis_project import FADED_FILE, write_project
from pipeline.product.run_copy import RunCopy, copy_run, copy_target
from pipeline.product.styles import write_styles
from tests.pipeline.made_run import ONE_ZONE, MadeRun, make_run
from tests.s3_server import s3

__all__ = ["s3"]

EMBEDDINGS = "embeddings-0000-0000"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = make_run(str(tmp_path_factory.mktemp("made") / "run"), ONE_ZONE)
    first = made.items[0]
    folder = f"cells/{first['properties']['timesen:tile']}/{first['id']}"
    kept = b"as large as a file of embeddings"
    made.store.write(f"{folder}/{EMBEDDINGS}.tif", kept)
    first["assets"][EMBEDDINGS] = {
        "href": f"./{EMBEDDINGS}.tif",
        "file:size": len(kept),
        "file:checksum": f"1220{hashlib.sha256(kept).hexdigest()}",
    }
    made.store.write(f"{folder}/{ITEM}", json.dumps(first).encode())
    write_collection(made.store, made.run, made.items, made.vocabulary)
    write_styles(made.store, made.run, made.vocabulary)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    write_project(made.store, made.run, made.items, made.vocabulary)
    for key in ("owners/000001.json", "failures/x.json", "plan/tiles.geojson", "notes.txt"):
        made.store.write(key, b"{}")
    return made


@pytest.fixture
def made(original: MadeRun, tmp_path: Path) -> MadeRun:
    """A run of its own for a test that changes it."""
    shutil.copytree(original.store.root, tmp_path / "run")
    return MadeRun(Store(str(tmp_path / "run")), original.run, original.cells, original.vocabulary)


def _copy(made: MadeRun, target: str, **options: Any) -> RunCopy:
    to = copy_target(made.store, made.run, target)
    return copy_run(made.store, mapped_items(made.store, made.run), to, **options)


def _require_whole(store: Store) -> list[str]:
    """Require that each item's rasters are there as it describes them; the ids of the items."""
    ids = []
    for key in store.keys("cells"):
        if key.endswith(ITEM):
            item = json.loads(store.read(key))
            ids.append(item["id"])
            for asset in item["assets"].values():
                content = store.read(key.replace(ITEM, asset["href"][2:]))
                assert len(content) == asset["file:size"]
                assert asset["file:checksum"] == f"1220{hashlib.sha256(content).hexdigest()}"
    return ids


def test_what_readers_need_is_copied(original: MadeRun, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = _copy(original, str(tmp_path / "there"), progress=lambda *now: seen.append(now))
    assert done.cells == len(original.cells) == len(_require_whole(done.store)) > 2
    assert seen[-1] == (done.cells, done.cells)
    here, there = original.store.sizes(), done.store.sizes()
    assert done.sent == (len(there), sum(there.values()))
    left_out = {key for key in here if key not in there}
    embeddings = {key for key in here if EMBEDDINGS in key}
    assert left_out == {
        *("owners/000001.json", "failures/x.json", "plan/tiles.geojson", "notes.txt"),
        *embeddings,
    }
    assert {QGIS_PROJECT, "class.sld", "class.qml", "true_colour.vrt"} <= set(there)
    document = json.loads(done.store.read("collection.json"))
    assert EMBEDDINGS in json.loads(original.store.read("collection.json"))["item_assets"]
    assert EMBEDDINGS not in document["item_assets"]
    collection = pystac.Collection.from_file(done.store.path("collection.json"))
    items = list(collection.get_items())
    assert len(items) == done.cells
    assert {Path(str(one.assets["class"].get_absolute_href())).is_file() for one in items} == {True}
    classes = []
    for store in (original.store, done.store):
        with rasterio.open(store.path("class.vrt")) as mosaic:
            classes.append(mosaic.read(1))
    assert (classes[0] == classes[1]).all()
    assert classes[1].any()
    assert _copy(original, str(tmp_path / "there")).sent == (0, 0)


def test_kept_embeddings_are_copied_if_asked_for(original: MadeRun, tmp_path: Path) -> None:
    done = _copy(original, str(tmp_path / "there"), embeddings=True)
    assert any(EMBEDDINGS in key for key in done.store.sizes())
    assert EMBEDDINGS in json.loads(done.store.read("collection.json"))["item_assets"]
    _require_whole(done.store)


def test_a_bucket_takes_it_in_pieces(
    original: MadeRun, s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cell_copy, "_PIECE", 2000)
    done = _copy(original, f"{s3}/pieces")
    assert any(size > 3 * 2000 for size in done.store.sizes().values())
    assert len(_require_whole(done.store)) == done.cells
    assert _copy(original, f"{s3}/pieces").sent == (0, 0)
    there = MadeRun(done.store, original.run, original.cells, original.vocabulary)
    back = _copy(there, str(tmp_path / "back")).store
    assert {**back.sizes(), QGIS_PROJECT: 0} == {**done.store.sizes(), QGIS_PROJECT: 0}
    assert back.read(QGIS_PROJECT) == original.store.read(QGIS_PROJECT)
    _require_whole(back)


def test_an_interrupted_copy_goes_on(
    original: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _copy(original, str(tmp_path / "whole")).sent[0]
    left, write = [whole // 2], Store.write

    def fails_at_last(store: Store, key: str, content: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OutputUnwritable("the disk is full")
        write(store, key, content)

    there = str(tmp_path / "there")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", fails_at_last)
        patch.setattr(run_copy, "_AT_ONCE", 1)
        with pytest.raises(OutputUnwritable, match="full"):
            _copy(original, there)
    finished = _require_whole(Store(there))
    assert finished
    assert len(finished) < len(original.cells)
    again = _copy(original, there)
    per_cell = sum(f"/{original.cells[0].id}/" in key for key in again.store.keys("cells"))
    assert again.sent[0] <= whole - len(finished) * per_cell
    assert sorted(_require_whole(again.store)) == sorted(cell.id for cell in original.cells)


def test_a_cell_that_was_mapped_anew_is_sent(made: MadeRun, tmp_path: Path) -> None:
    there = str(tmp_path / "there")
    _copy(made, there)
    item = made.items[1]
    folder = f"cells/{item['properties']['timesen:tile']}/{item['id']}"
    changed = made.store.read(f"{folder}/confidence.tif") + b"more"
    made.store.write(f"{folder}/confidence.tif", changed)
    item["assets"]["confidence"] |= {
        "file:size": len(changed),
        "file:checksum": f"1220{hashlib.sha256(changed).hexdigest()}",
    }
    made.store.write(f"{folder}/{ITEM}", json.dumps(item).encode())
    again = _copy(made, there)
    sidecars = sum("aux.xml" in key or ".qml" in key for key in again.store.keys(folder))
    assert again.sent[0] == 2 + sidecars  # the raster and the item
    _require_whole(again.store)


def test_a_damaged_raster_is_not_published(made: MadeRun, tmp_path: Path) -> None:
    item = made.items[1]
    key = f"cells/{item['properties']['timesen:tile']}/{item['id']}/class.tif"
    content = bytearray(made.store.read(key))
    content[-9] ^= 1
    made.store.write(key, bytes(content))
    with pytest.raises(OutputError, match=r"class\.tif: the raster is not the one"):
        _copy(made, str(tmp_path / "there"))
    assert item["id"] not in _require_whole(Store(str(tmp_path / "there")))


def test_cells_that_the_run_has_no_more(made: MadeRun, tmp_path: Path) -> None:
    there = str(tmp_path / "there")
    _copy(made, there)
    gone = made.items[0]
    made.store.remove(f"cells/{gone['properties']['timesen:tile']}/{gone['id']}/{ITEM}")
    assert _copy(made, there).removed == 0
    assert gone["id"] in _require_whole(Store(there))
    assert _copy(made, there, prune=True).removed == 1
    assert not any(gone["id"] in key for key in Store(there).keys("cells"))


def test_places_that_cannot_take_it(original: MadeRun, tmp_path: Path) -> None:
    def refused(target: str) -> str:
        with pytest.raises(OutputError) as caught:
            copy_target(original.store, original.run, target)
        return str(caught.value)

    another = original.store.read(RUN).replace(b'"fingerprint": "', b'"fingerprint": "0')
    Store(str(tmp_path / "other")).write(RUN, another)
    assert "another run is published there" in refused(str(tmp_path / "other"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("private")
    assert "for one, letter.txt" in refused(str(tmp_path / "full"))
    assert "this is a file" in refused(str(tmp_path / "full" / "letter.txt"))
    root = original.store.root
    for own in (root, f"{root}/copy", str(Path(root).parent)):
        assert "in the run's own folder" in refused(own)
    assert "Give a folder or s3://" in refused("ftp://host/x")


def test_the_project_of_a_copy_leads_into_the_bucket(made: MadeRun, s3: str) -> None:
    copied = _copy(made, f"{s3}/project")
    with zipfile.ZipFile(BytesIO(copied.store.read(QGIS_PROJECT))) as archive:
        project = archive.read("map.qgs").decode()
    assert f"<datasource>/vsis3/maps/project/{FADED_FILE}</datasource>" in project
    assert 'source="/vsis3/maps/project/class.vrt"' in project
    assert "./" not in project.replace("././", "")
    again = _copy(made, f"{s3}/project")
    assert again.sent == (0, 0)
