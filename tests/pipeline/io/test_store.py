import asyncio
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
import s3fs

from pipeline.errors import OutputError, OutputUnwritable
from pipeline.io.store import Store, public_text, public_url
from tests.s3_server import BUCKET


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "run"))
    return Store(f"{request.getfixturevalue('s3')}/{request.node.name}/run")


def test_reads_back_written_bytes(store: Store) -> None:
    assert not store.exists("a/b.bin")
    store.write("a/b.bin", b"one")
    store.write("a/b.bin", b"two")
    assert store.exists("a/b.bin")
    assert not store.exists("a"), "a folder is no key"
    assert store.read("a/b.bin") == b"two"


def test_lists_keys_in_order_under_a_prefix(store: Store) -> None:
    assert list(store.keys()) == []
    assert list(store.keys("cells")) == []
    for key in ("run.json", "cells/b/item.json", "cells/a/item.json", "cells-other"):
        store.write(key, b"x")
    assert list(store.keys()) == [
        "cells-other",
        "cells/a/item.json",
        "cells/b/item.json",
        "run.json",
    ]
    assert list(store.keys("cells")) == ["cells/a/item.json", "cells/b/item.json"]


def test_files_that_vanish_meanwhile_are_not_listed(tmp_path: Path) -> None:
    store, ended = Store(str(tmp_path)), threading.Event()
    store.write("owners/a", b"x")

    def come_and_go() -> None:
        while not ended.is_set():
            store.create("owners/b", b"x")
            store.remove("owners/b")

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        for _ in range(2000):
            assert set(store.keys()) - {"owners/b"} == {"owners/a"}
    finally:
        ended.set()
        other.join()


def test_sizes_are_the_bytes_of_each_key(store: Store) -> None:
    store.write("cells/b", b"four")
    store.write("cells/a", b"")
    assert store.sizes("cells") == {"cells/a": 0, "cells/b": 4}


def test_a_bucket_that_does_not_exist_is_said(s3: str) -> None:
    store = Store("s3://no-such-bucket/run")
    for attempt in (lambda: store.sizes(), lambda: store.write("a", b"x")):
        with pytest.raises(OutputUnwritable, match="the bucket does not exist"):
            attempt()


def test_a_browser_is_told_what_a_file_is(s3: str) -> None:
    store = Store(f"{s3}/typed")
    kinds = {
        "report.html": "text/html",
        "collection.json": "application/json",
        "preview.png": "image/png",
        "class.tif": "image/tiff",
    }
    for key, kind in kinds.items():
        store.write(key, b"content")
        found = boto3.client("s3").head_object(Bucket=BUCKET, Key=f"typed/{key}")
        assert found["ContentType"] == kind
    store.write("class.vrt", b"content")
    assert store.read("class.vrt") == b"content"


def test_reads_many_and_leaves_out_vanished_keys(store: Store) -> None:
    keys = [f"many/{number:03d}" for number in range(40)]
    for key in keys[:30]:
        store.write(key, key.encode())
    assert list(store.read_many([])) == []
    assert list(store.read_many(keys[:1])) == [(keys[0], keys[0].encode())]
    assert list(store.read_many(keys)) == [(key, key.encode()) for key in keys[:30]]


def test_removes_keys_whether_or_not_they_exist(store: Store) -> None:
    store.write("a", b"x")
    store.remove("a")
    store.remove("a")
    assert not store.exists("a")
    with pytest.raises(FileNotFoundError):
        store.read("a")


def test_travels_to_another_process(store: Store) -> None:
    store.write("a", b"x")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"x"


def test_sees_the_writes_of_others_at_once(store: Store) -> None:
    assert list(store.keys()) == []
    Store(store.root).write("late", b"x")
    assert list(store.keys()) == ["late"]


def test_a_write_cut_short_is_no_key(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    (tmp_path / ".part-0011").write_bytes(b"half")
    assert list(store.keys()) == []


def test_a_full_disk_is_an_error_and_keeps_old_files(small_disk: Path) -> None:
    store = Store(str(small_disk))
    store.write("a/first", b"x" * 1000)
    with pytest.raises(OutputUnwritable, match=r"a/first: No space left.*free some space"):
        store.write("a/first", b"y" * 2_000_000)
    assert store.read("a/first") == b"x" * 1000
    assert [file.name for file in (small_disk / "a").iterdir()] == ["first"]


def test_read_only_disk_is_said(read_only_disk: Path) -> None:
    store = Store(str(read_only_disk))
    assert store.read("there") == b"kept"
    with pytest.raises(OutputUnwritable, match="Read-only file system"):
        store.write("new", b"x")
    with pytest.raises(OutputUnwritable, match="Read-only file system"):
        store.remove("there")


def test_a_folder_below_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = Store(str(tmp_path / "file" / "run"))
    assert not store.exists("run.json")
    assert list(store.keys()) == []
    with pytest.raises(OutputUnwritable, match="Not a directory"):
        store.write("run.json", b"x")


def test_a_bucket_that_is_not_there_is_said(s3: str) -> None:
    store = Store("s3://no-such-bucket/run")
    assert not store.exists("run.json")
    with pytest.raises(OutputUnwritable, match="s3://no-such-bucket/run/a: the bucket"):
        store.write("a", b"x")


def test_a_server_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    with pytest.raises(OutputUnwritable, match=r"127\.0\.0\.1:9") as caught:
        Store("s3://maps/run").exists("run.json")
    assert "hush" not in str(caught.value)
    s3fs.S3FileSystem.clear_instance_cache()


def test_other_schemes_are_refused() -> None:
    with pytest.raises(OutputError, match=r"s3://bucket"):
        Store("https://user:pass@host/run?sig=1")


def test_gdal_finds_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000")
    store = Store("s3://maps/run/")
    assert store.gdal_path("class.vrt") == "/vsis3/maps/run/class.vrt"
    assert store.gdal_options()["AWS_S3_ENDPOINT"] == "localhost:9000"
    assert store.gdal_options()["AWS_HTTPS"] == "NO"
    assert Store("/tmp/run").gdal_options() == {}


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://u:p@host/a.tif?sig=secret#x", "https://host/a.tif"),
        ("s3://bucket/a b.tif", "s3://bucket/a b.tif"),
        ("/data/a?b.tif", "/data/a?b.tif"),
        ("/vsicurl/https://u:p@host/a b.tif?sig=secret", "/vsicurl/https://host/a b.tif"),
        ("/vsigzip//vsicurl/https://host/a.gz?sig=secret", "/vsigzip//vsicurl/https://host/a.gz"),
        ("/vsicurl?pc_url_signing=yes&url=https%3A%2F%2Fhost", "/vsicurl"),
        ("/vsis3/bucket/a.tif", "/vsis3/bucket/a.tif"),
    ],
)
def test_public_url_shows_no_secret(href: str, shown: str) -> None:
    assert public_url(href) == shown


def test_public_text_shows_no_secret() -> None:
    text = "reading https://u:p@host/a.tif?sig=secret failed (s3://b/k?token=1): cut"
    assert public_text(text) == "reading https://host/a.tif failed (s3://b/k cut"


def test_a_key_is_created_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda n: store.create("owners/1", b"%d" % n), range(8)))
    assert created.count(True) == 1
    assert store.read("owners/1") == b"%d" % created.index(True)
    assert not store.create("owners/1", b"later")


def test_only_a_key_that_is_there_is_overwritten(store: Store) -> None:
    assert not store.overwrite("owners/1", b"x")
    assert list(store.keys()) == []
    store.create("owners/1", b"longer")
    assert store.overwrite("owners/1", b"short")
    assert store.read("owners/1") == b"short"


def test_an_opened_folder_is_not_made_anew(tmp_path: Path) -> None:
    store = pickle.loads(pickle.dumps(Store(str(tmp_path / "run")).once_opened()))
    for key in ("report.html", "cells/31UFS/a/class.tif"):
        with pytest.raises(OutputUnwritable, match="the folder was removed meanwhile"):
            store.write(key, b"x")
    with pytest.raises(OutputUnwritable, match="the folder was removed meanwhile"):
        store.create("owners/a", b"x")
    assert not Path(store.root).exists()
    Path(store.root).mkdir()
    store.write("cells/31UFS/a/class.tif", b"x")
    assert list(store.keys()) == ["cells/31UFS/a/class.tif"]


def test_only_a_dead_process_loses_its_half_written_files(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    code = (
        "import os, signal, sys\nfrom pipeline.io import local_files\n"
        "from pipeline.io.store import Store\n"
        "local_files.sync_path = lambda folder: None\n"
        "def write(path, content):\n"
        "    path.write_bytes(content)\n    print(path, flush=True)\n    sys.stdin.read()\n"
        "local_files.write_durably = write\n"
        "Store(sys.argv[1]).write('cells/a/class.tif', b'half')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    parts = [Path(process.stdout.readline().strip()) for process in processes if process.stdout]
    unknown = tmp_path / ".part-0011"
    unknown.write_bytes(b"of an early version")
    processes[0].kill()
    processes[0].communicate()
    store.remove_abandoned_parts()
    assert [part.exists() for part in (*parts, unknown)] == [False, True, True]
    assert list(store.keys()) == []
    processes[1].communicate("")
    assert list(store.keys()) == ["cells/a/class.tif"]
    assert sorted(path.name for path in tmp_path.rglob("*.*") if path.is_file()) == [
        ".part-0011",
        "class.tif",
    ]


def test_a_large_file_is_put_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    with store.new_file("map.tif") as path:
        path.write_bytes(b"first")
        assert list(store.keys()) == []
    with suppress(RuntimeError), store.new_file("map.tif") as path:
        path.write_bytes(b"second")
        path.with_name(f"{path.name}.ovr.tmp").write_bytes(b"what GDAL writes beside it")
        raise RuntimeError
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["map.tif"]
    assert store.read("map.tif") == b"first"


def test_a_large_file_that_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pipeline.io.store import Store\n"
        "with Store(sys.argv[1]).new_file('map.tif') as path:\n"
        "    path.write_bytes(b'half')\n    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"half"]
    with Store(str(tmp_path)).new_file("map.tif") as path:
        path.write_bytes(b"whole")
    assert [file.name for file in tmp_path.iterdir()] == ["map.tif"]


def test_keys_that_come_while_a_bucket_is_listed(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3fs asks for the folder itself after it has found none: it is no key."""
    store = Store(f"{s3}/race/run")
    look = s3fs.S3FileSystem._lsdir

    async def listed(*given: Any, **options: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await look(*given, **options)
        await asyncio.to_thread(put)
        return found

    def put() -> None:
        client = boto3.client("s3")
        client.put_object(Bucket=store.root.split("/")[2], Key="race/run/owners/1.json", Body=b"{}")

    monkeypatch.setattr(s3fs.S3FileSystem, "_lsdir", listed)
    assert list(store.keys()) == []
    assert list(store.keys()) == ["owners/1.json"]
