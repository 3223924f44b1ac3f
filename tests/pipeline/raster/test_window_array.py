"""Windows are put where they belong, and only there."""

import threading

import numpy as np
import pytest

from pipeline.raster.reused_memory import keep_freed_memory, reused_array
from pipeline.raster.window_array import WindowArray


def test_windows_lie_where_their_items_are_and_the_rest_is_nodata() -> None:
    values = np.full((4, 2, 3), 9, np.uint16)
    into = WindowArray(values, ["a", "b", "", "a"])  # two items of one raster
    into.put("a", np.full((2, 3), 5, np.uint16))
    into.fill_others()
    assert values[:, 0, 0].tolist() == [5, 0, 0, 5]
    assert np.array_equal(values, np.broadcast_to(values[:, :1, :1], values.shape))


def test_a_window_made_in_its_place_reaches_the_other_items_of_its_raster() -> None:
    values = np.zeros((2, 2, 2), np.uint16)
    into = WindowArray(values, ["a", "a"])
    place = into.place("a")
    place[:] = 7
    into.put("a", place)
    into.fill_others()
    assert (values == 7).all()


@pytest.mark.parametrize("window", [np.zeros((1, 1), np.uint16), np.zeros((2, 3), np.uint8)])
def test_a_window_of_another_shape_or_dtype_is_refused(window: np.ndarray) -> None:
    into = WindowArray(np.zeros((1, 2, 3), np.uint16), ["a"])
    with pytest.raises((ValueError, TypeError), match=r"window of|Cannot cast"):
        into.put("a", window)


def test_an_array_without_a_raster_for_each_item_is_refused() -> None:
    with pytest.raises(ValueError, match="1 rasters for an array of 2 items"):
        WindowArray(np.zeros((2, 1, 1), np.uint16), ["a"])


def test_each_thread_uses_memory_of_its_own_again() -> None:
    keep_freed_memory()
    large, small = reused_array((4, 5), np.uint16), reused_array((2, 3), np.uint8)
    assert (large.shape, large.dtype) == ((4, 5), np.uint16)
    assert np.shares_memory(large, small)
    others: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: others.append(reused_array((4, 5), np.uint16)))
    thread.start()
    thread.join()
    assert not np.shares_memory(large, others[0])
    assert reused_array((40, 50), np.uint16).size == 2000
