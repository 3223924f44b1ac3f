"""A run's folder that the tests of maps' accuracy read, and none of them changes."""

import pytest

from pipeline.layout import VOCABULARY_FILE
from tests.pipeline.made_run import TWO_ZONES, VOCABULARY, MadeRun, make_run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    """Two zones, whose cells overlap at the border."""
    run = make_run(str(tmp_path_factory.mktemp("run")), TWO_ZONES)
    run.store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
    return run
