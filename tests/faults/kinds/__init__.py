"""The kinds of faults; seeds take them in turn, so the order mixes quick and slow ones."""

from tests.faults.kinds.clock import CLOCK
from tests.faults.kinds.disk import DISKS
from tests.faults.kinds.drivers import DRIVERS
from tests.faults.kinds.kills import KILLS
from tests.faults.kinds.kind import Kind
from tests.faults.kinds.memory import MEMORY
from tests.faults.kinds.network import NETWORK
from tests.faults.kinds.object_store import OBJECT_STORE
from tests.faults.kinds.training import TRAINING

__all__ = ["KINDS", "Kind"]

KINDS: tuple[Kind, ...] = (
    *KILLS, *DISKS, *MEMORY, *NETWORK, *OBJECT_STORE, *CLOCK, *DRIVERS, *TRAINING,
)  # fmt: skip
"""All kinds of faults."""
