"""How many runs read from one catalogue at once: slots of a limit on the Prefect server.

Whoever runs the server sets the limit (`prefect gcl create timesen-catalog-cdse --limit 2`); where
there is none, nothing waits. A run holds one slot while it maps cells. The slot is on lease, which
the run renews: that of a run that was killed is free again after `_LEASE_SECONDS`.
"""

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from flows.execution.prefect_api import (
    ObjectNotFound,
    concurrency,
    get_client,
    get_run_logger,
)
from flows.execution.progress import RunProgress, report_progress
from pipeline.catalog.description import describe_catalog, shipped_catalogs

_LEASE_SECONDS = 120


@contextlib.contextmanager
def catalog_slot(url: str) -> Iterator[None]:
    """Hold a slot of the catalogue at this address for the length of the block, in a flow.

    It waits for one as long as it takes. It does nothing where the server has no such limit.
    """
    name = catalog_limit(url)
    if name is None or not _is_limited(name):
        yield
        return
    report_progress(RunProgress(f"waiting for a slot of {name}"))
    # Not strict: a run goes on where its lease cannot be renewed, or the limit is deleted.
    with concurrency(name, lease_duration=_LEASE_SECONDS, strict=False):
        get_run_logger().info("Holds a slot of %s", name)
        yield


def catalog_limit(url: str) -> str | None:
    """The name of a catalogue's limit: with its name if it is a shipped one, else with its host.

    None for a catalogue in a folder.
    """
    for name in shipped_catalogs():
        if describe_catalog(name).url == url:
            return f"timesen-catalog-{name}"
    host = urlsplit(url).hostname if "://" in url else None
    return f"timesen-catalog-{host}" if host else None


def _is_limited(name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return False
    return True
