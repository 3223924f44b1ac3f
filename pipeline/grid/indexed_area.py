"""Many questions to one area, answered from an index that GEOS makes of it once."""

import threading
from collections.abc import Callable
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry


class IndexedArea:
    """An area that threads may ask at once; it can be pickled.

    GEOS answers from a prepared geometry for one thread at a time: two at once end the process
    (libgeos/geos#825). So the area itself is never prepared, but a copy that nobody else has, and
    a lock lets one thread ask it. `shapely.prepare` is only for what one function makes and keeps.
    """

    def __init__(self, area: BaseGeometry) -> None:
        self._area = area
        self._prepared: BaseGeometry | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["IndexedArea"], tuple[BaseGeometry]]:
        return IndexedArea, (self._area,)

    def ask(self, question: Callable[..., Any], *given: Any) -> Any:
        """What a function of shapely, such as `shapely.covers`, says of the area and `given`."""
        with self._lock:
            if self._prepared is None:
                self._prepared = shapely.from_wkb(shapely.to_wkb(self._area))
                shapely.prepare(self._prepared)
            return question(self._prepared, *given)
