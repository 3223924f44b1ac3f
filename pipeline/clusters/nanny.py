"""How worker processes of this machine are started: imported where Dask is."""

import contextlib

import dask
from distributed import LocalCluster, Nanny

# Ctrl-C reaches all processes of a terminal; only the run's own process may answer it.
_LEAVE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


class PatientNanny(Nanny):
    """Dask's keeper of a worker process, on a machine that may be busy."""

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        """End the process, which may be gone only later."""
        with contextlib.suppress(TimeoutError):
            await super().kill(timeout=timeout, reason=reason)


def preloads(*more: str) -> list[str]:
    """What a worker process runs as it starts: of Dask's settings, of ours, and `more`."""
    return [*dask.config.get("distributed.worker.preload"), _LEAVE_INTERRUPTS, *more]


def with_readers(
    kind: type[LocalCluster], number: int, options: dict[str, object]
) -> type[LocalCluster]:
    """A kind of cluster that also has so many readers, processes of this machine without a GPU.

    `options` are those of their nannies.
    """
    readers = {
        f"reader-{one}": {
            "cls": PatientNanny,
            "options": {"env": {"CUDA_VISIBLE_DEVICES": ""}, **options},
        }
        for one in range(number)
    }

    class WithReaders(kind):  # type: ignore[valid-type, misc]
        def __init__(self, **own: object) -> None:
            super().__init__(**own)
            self.worker_spec |= readers
            try:
                self.sync(self._correct_state)
            except BaseException:
                self.close()
                raise

    return WithReaders
