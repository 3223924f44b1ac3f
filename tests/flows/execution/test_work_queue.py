import threading

from flows.execution.work_queue import Slots


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
