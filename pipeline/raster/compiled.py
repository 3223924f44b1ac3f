"""Functions that numba compiles for stated types of arguments, always in the same order."""

import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numba import njit, types

_NUMBERS: dict[type[np.generic], types.Type] = {np.uint8: types.uint8, np.uint16: types.uint16}


def array_type(
    dtype: type[np.generic], layout: Literal["C", "A"], *, changed: bool = False
) -> types.Array:
    """The type of an aligned array of two dimensions; its layout is "C" (contiguous) or "A" (any).

    One that is not `changed` may be read-only.
    """
    return types.Array(_NUMBERS[dtype], 2, layout, readonly=not changed)


class Compiled:
    """A function that is compiled at its first call, for each of the stated types of arguments.

    Arguments of other types are a TypeError. A function that meets several types needs this:
    numba's cache on disk numbers what it compiles in the order in which types come up. Two
    processes that meet different ones at once may give both the same number, and then one runs,
    unnoticed and for good, what was compiled for the other's arrays. Here all processes number
    alike.
    """

    def __init__(self, function: Callable[..., None], *arguments: tuple[types.Type, ...]) -> None:
        self._dispatcher = njit(nogil=True, cache=True)(function)
        self._arguments = arguments
        self._compiled = False
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> None:
        """Call the function."""
        if not self._compiled:
            self._compile()
        self._dispatcher(*arguments)

    def _compile(self) -> None:
        with self._lock:
            if not self._compiled:
                for arguments in self._arguments:
                    self._dispatcher.compile(arguments)
                self._dispatcher.disable_compile()
                self._compiled = True


def compiled_for(
    *arguments: tuple[types.Type, ...],
) -> Callable[[Callable[..., None]], Compiled]:
    """Make a function `Compiled` for these types of arguments."""
    return lambda function: Compiled(function, *arguments)
