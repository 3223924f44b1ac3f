import threading
import time

from dask import delayed

from flows.execution.dask_cluster import open_cluster
from flows.execution.work_queue import Slots, Submit, UnitQueue
from pipeline.clusters.settings import ClusterSettings


def test_no_more_than_there_are() -> None:
    slots = Slots(2)
    place = slots.join()
    assert [slots.take(place, 0) for _ in range(3)] == [True, True, False]
    slots.give_back()
    assert slots.take(place, 0)


def test_who_came_first_takes_all_that_it_wants() -> None:
    slots = Slots(2)
    first, second = slots.join(), slots.join()
    assert not slots.take(second, 0)
    assert slots.take(first, 0)
    slots.leave(first)
    slots.leave(first)
    assert slots.take(second, 0)
    assert not slots.take(second, 0), "what the first has taken stays taken"


def test_another_number_reaches_who_waits() -> None:
    slots = Slots(1)
    place = slots.join()
    assert slots.take(place, 0)
    taken: list[bool] = []
    waiting = threading.Thread(target=lambda: taken.append(slots.take(place, 60)))
    waiting.start()
    slots.resize(2)
    waiting.join(60)
    assert taken == [True]
    slots.resize(1)
    slots.give_back()
    assert not slots.take(place, 0), "one is still taken"
    slots.give_back()
    assert slots.take(place, 0)


def test_no_more_bytes_than_allowed() -> None:
    slots = Slots(10, most_bytes=100)
    place = slots.join()
    assert [slots.take(place, 0, 40) for _ in range(3)] == [True, True, False]
    assert slots.take(place, 0, 20)
    slots.give_back(size=40)
    assert not slots.take(place, 0, 41)
    assert slots.take(place, 0, 40)


HELD: list[int] = [0]
MOST: list[int] = []
LOCK = threading.Lock()


def read(size: int) -> int:
    with LOCK:
        HELD[0] += size
        MOST.append(HELD[0])
    return size


def encode(size: int) -> None:
    time.sleep(0.02)  # slower than reading
    with LOCK:
        HELD[0] -= size


def test_readers_do_not_run_ahead_of_an_encoder() -> None:
    """What is read and not encoded stays below the limit, though there are slots for all."""

    def unit(size: int) -> Submit:
        return lambda client, _: client.compute(delayed(encode)(delayed(read, pure=False)(size)))

    sizes = {str(number): 10 + number % 3 for number in range(20)}
    with open_cluster(ClusterSettings(threads=4)) as client:
        for limit, bound in ((None, sum(sizes.values())), (30, 30)):
            MOST.clear()
            queue = UnitQueue(client, lambda: 20, limit)
            units = {name: unit(size) for name, size in sizes.items()}
            assert queue.map(units, lambda *_: None, lambda *_: None, sizes) == []
            assert queue.reason is None
            assert len(MOST) == 20
            assert max(MOST) <= bound
            assert (max(MOST) > 30) == (limit is None)
