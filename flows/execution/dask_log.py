"""Dask's own log: a file, so that the terminal is for what a user can act on.

Dask logs lost connections, busy event loops and workers that it starts again, with tracebacks, also
in runs that end well. What ends a run is said by an error of ours.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from models.option import user_path
from models.visible_text import visible_lines
from pipeline.io.redaction import without_secrets

_LOGGERS = ("asyncio", "bokeh", "distributed", "tornado")
_MOST_BYTES = 5_000_000  # then the next run begins another file; one older is kept
_FORMAT = "%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"


def dask_log_file() -> Path | None:
    """The file of Dask's log; None where the user has no home.

    It is in $XDG_STATE_HOME or ~/.local/state, timesen/dask.log
    (https://specifications.freedesktop.org/basedir-spec/latest/).
    """
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():
        base = user_path("~/.local/state")
    return base / "timesen" / "dask.log" if base.is_absolute() else None


def log_dask_to_file() -> None:
    """Have Dask's messages of this process in `dask_log_file` rather than on the terminal.

    Handlers that the user's settings of Dask have made stay, but for those that write to the
    terminal. It lasts: connections are also lost after a cluster has been closed.
    """
    handler = _handler()
    names = [*logging.root.manager.loggerDict, *_LOGGERS]
    for logger in (logging.getLogger(name) for name in names if name.split(".")[0] in _LOGGERS):
        for own in [*logger.handlers]:
            if isinstance(own, logging.StreamHandler) and own.stream in (sys.stderr, sys.stdout):
                logger.removeHandler(own)
                logger.propagate = True
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        for own in [one for one in logger.handlers if isinstance(one, _LogFile | _NoLog)]:
            logger.removeHandler(own)
            own.close()
        logger.addHandler(handler)
        logger.propagate = False


@contextlib.contextmanager
def workers_log_to_file() -> Iterator[None]:
    """Have worker processes that are started in this block do the same."""
    import dask

    preload = [*dask.config.get("distributed.worker.preload", []), _PRELOAD]
    with dask.config.set({"distributed.worker.preload": preload}):
        yield


_PRELOAD = "from flows.execution.dask_log import log_dask_to_file; log_dask_to_file()"


class _LogFile(logging.Handler):
    """Appends to a file that processes share: a message is one write.

    No `StreamHandler`, whose level Dask raises. Tracebacks can hold signed addresses.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(_FORMAT))
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, without secrets and control characters."""
        text = visible_lines(without_secrets(self.format(record)))
        with contextlib.suppress(OSError):  # a full disk
            os.write(self._file, f"{text}\n".encode())

    def close(self) -> None:
        """Close the file, once: another may have its number then."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
        super().close()


class _NoLog(logging.NullHandler):
    """In its place, where it cannot be written."""


def _handler() -> logging.Handler:
    path = dask_log_file()
    if path is None:
        return _NoLog()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _MOST_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return _LogFile(path)
    except OSError:  # read-only or full
        return _NoLog()
