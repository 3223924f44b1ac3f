"""A run of two zones with two ranks, which the tests of areas read, and none of them changes."""

import pytest

from pipeline.layout import VOCABULARY_FILE
from tests.pipeline.made_run import TWO_ZONES, VOCABULARY, MadeRun, make_run


@pytest.fixture(scope="session")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    run = make_run(str(tmp_path_factory.mktemp("ranked")), TWO_ZONES, cell_size=256, top_k=2)
    run.store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
    return run
