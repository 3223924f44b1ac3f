"""A kind of fault: its name in the table, and what it does."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.trial import Trial


@dataclass(frozen=True)
class Kind:
    """A kind of fault; `strike` starts commands and disturbs them, and need not wait for them."""

    name: str
    strike: Callable[[Trial], None]
