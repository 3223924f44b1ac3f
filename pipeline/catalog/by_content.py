"""Results that equal JSON values share: of a year's items of a tile most fields are the same."""

import marshal
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

_MOST = 32_768  # results of a function that are kept; Europe's 800 tiles have some 10,000 grids
_LONGEST = 65_536  # bytes of values whose result is kept

_T = TypeVar("_T")


def shared_by_content(function: Callable[..., _T]) -> Callable[..., _T]:
    """Let a function be computed once for equal arguments, which are JSON values.

    Values are compared by their bytes, so 1, 1.0 and true differ. The result is shared: nobody may
    change it. Errors are not kept.
    """
    kept: dict[bytes, _T] = {}

    @wraps(function)
    def shared(*values: Any) -> _T:
        try:
            key = marshal.dumps(values, 2)  # version 2 does not depend on which objects are one
        except ValueError:
            return function(*values)
        if key in kept:
            return kept[key]
        result = function(*values)
        if len(key) <= _LONGEST:
            if len(kept) >= _MOST:
                kept.clear()
            kept[key] = result
        return result

    return shared
