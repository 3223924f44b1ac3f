"""Dask's client of a scheduler that runs already, which may not be reached."""

from typing import Any

from distributed import Client


class SchedulerClient(Client):
    """A client that is closed at once where it cannot connect.

    Dask leaves it half open: its thread runs on, and it is closed when it is collected, on whatever
    thread. There it can wait for ever for a lock which that thread holds while it opens another.
    It is never Dask's default client: one that cannot connect would stay it.
    """

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(address, set_as_default=False, **options)

    def start(self, **options: Any) -> None:
        """Connect; raises what Dask raises where the scheduler cannot be reached."""
        try:
            super().start(**options)
        except BaseException:
            self.close()
            self._loop_runner.stop()  # closing leaves it where connecting failed in time
            raise
