"""A bounded number of things at once, of a bound that may change while they run."""

import threading


class Slots:
    """So many slots; who stands in line first takes all that it wants before the next.

    Tiles stand in line for their cells: one after the other is finished, rather than all at the
    end, however many are open.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken = 0
        self._line: list[object] = []
        self._changed = threading.Condition()

    def join(self) -> object:
        """Stand in line, at its end; gives a place, to `take` with and to `leave`."""
        place = object()
        with self._changed:
            self._line.append(place)
        return place

    def leave(self, place: object) -> None:
        """Want no more slots; those that were taken stay so. Nothing happens the second time."""
        with self._changed:
            if place in self._line:
                self._line.remove(place)
                self._changed.notify_all()

    def take(self, place: object, timeout: float) -> bool:
        """Take a slot within some seconds, if the place is the first and a slot is free."""
        with self._changed:
            taken = self._changed.wait_for(
                lambda: self._line[:1] == [place] and self._taken < self._number, timeout
            )
            self._taken += taken
            return taken

    def give_back(self, number: int = 1) -> None:
        """Give slots back."""
        with self._changed:
            self._taken -= number
            self._changed.notify_all()

    def resize(self, number: int) -> None:
        """Have another number of slots; where more are taken, none is given until fewer are."""
        with self._changed:
            self._number = number
            self._changed.notify_all()
