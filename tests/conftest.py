"""Fixtures that several test modules share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.sample_fixtures import http_server, sample_archive

__all__ = ["http_server", "sample_archive", "shared_data"]

# Property tests use the same examples in every run, and have no time limit.
# `--hypothesis-profile=search` draws new and more examples, to look for failures.
settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "search", settings.get_profile("same"), derandomize=False, max_examples=5000
)
settings.load_profile("same")

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use empty folders for the cache of text embeddings and for logs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; skip the test if it is missing."""
    folder = Path(os.environ.get("TIMESEN_TEST_DATA", _DEFAULT))
    if not (folder / "PROVENANCE.md").is_file():
        pytest.skip(f"no real data at {folder}: set TIMESEN_TEST_DATA to their folder")
    return folder
