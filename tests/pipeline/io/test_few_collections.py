import gc

from pipeline.io.few_collections import few_collections


def test_collections_are_as_before_at_the_end() -> None:
    before = gc.get_threshold()
    with few_collections():
        assert gc.get_threshold() > before
    assert gc.get_threshold() == before


def test_blocks_of_two_threads_that_overlap_leave_the_setting_as_it_was() -> None:
    before = gc.get_threshold()
    first, second = few_collections(), few_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() > before  # the second is still under way
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before
