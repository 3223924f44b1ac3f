"""Fixtures of the pipeline's tests: a real S3 server, small file systems."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stac_geoparquet.arrow import _api

from tests.s3_server import s3

__all__ = ["read_only_disk", "s3", "small_disk"]


@pytest.fixture(scope="session", autouse=True)
def _no_memory_log() -> Iterator[None]:
    """Let stac_geoparquet not measure its memory for its log: 0.1 s for each table of items."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_api, "memlog", lambda message: None)
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; skips where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only_disk(small_disk: Path) -> Path:
    """A file system that takes no writes, with a file `there` in it."""
    (small_disk / "there").write_text("kept")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return small_disk
