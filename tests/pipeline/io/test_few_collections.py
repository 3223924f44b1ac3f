import gc

from pipeline.io.few_collections import few_collections


def test_collections_are_as_before_at_the_end() -> None:
    before = gc.get_threshold()
    with few_collections():
        assert gc.get_threshold() > before
    assert gc.get_threshold() == before
