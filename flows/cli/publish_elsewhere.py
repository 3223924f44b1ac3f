"""What `timesen publish` does beyond the run's folder: a copy, and items at a STAC API."""

from dataclasses import dataclass

from flows.execution.console import PlainConsole, say, show_progress
from flows.execution.progress import RunProgress, report_progress
from pipeline.catalog.transactions import TransactionApi, open_transaction_api
from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url
from pipeline.mapping.publish_api import files_address, own_collection, publish_at_api
from pipeline.product.committed_cells import mapped_items
from pipeline.product.manifest import RunManifest
from pipeline.product.run_copy import copy_run, copy_target


@dataclass(frozen=True)
class Destination:
    """The options that say where to; see the help of `timesen publish`."""

    to: str | None
    api: str | None
    href: str | None
    headers: tuple[str, ...]
    id: str | None
    title: str | None
    embeddings: bool
    prune: bool


@dataclass(frozen=True)
class OpenDestination:
    """A destination that was looked at: it can take the run.

    Attributes:
        given: The options.
        run: The run.
        target: The folder or bucket of the copy.
        api: The STAC API.
        collection: The id of the run's collection there, and whether it is there.
        base: The address of the run's files for the API's readers.
    """

    given: Destination
    run: RunManifest
    target: Store | None = None
    api: TransactionApi | None = None
    collection: tuple[str, bool] = ("", False)
    base: str = ""


def open_destination(store: Store, run: RunManifest, given: Destination) -> OpenDestination:
    """Look at the places that a run is to be published at, before anything is written.

    Raises:
        OutputError: A place cannot take the run, or options contradict each other.
        CatalogError: The API cannot, or refuses.
        OutputUnwritable: A place cannot be reached.
    """
    _require_consistent(given)
    target = None if given.to is None else copy_target(store, run, given.to)
    if given.api is None:
        return OpenDestination(given, run, target)
    base = files_address(given.href, target or store)
    api = open_transaction_api(given.api, given.headers)
    return OpenDestination(given, run, target, api, own_collection(api, run, given.id), base)


def _require_consistent(given: Destination) -> None:
    """Raise OutputError for options that would have no effect."""
    if given.to is not None and given.to.lower().startswith(("http://", "https://")):
        raise OutputError(
            f"--to {public_url(given.to)}",
            "files are copied to a folder or an s3:// address",
            f"Write --api {public_url(given.to)} for a STAC API",
        )
    of_api = {"--href": given.href, "--header": given.headers, "--id": given.id}
    for name, value in {**of_api, "--title": given.title}.items():
        if value and given.api is None:
            raise OutputError(name, "it goes with --api", "Give the address of a STAC API, too")
    for name, asked in (("--with-embeddings", given.embeddings), ("--prune", given.prune)):
        if asked and given.api is None and given.to is None:
            raise OutputError(name, "it goes with --to or --api", "Say where to publish")


def publish_elsewhere(console: PlainConsole, store: Store, there: OpenDestination) -> None:
    """Copy a published run, then register it; say what was done."""
    if there.target is None and there.api is None:
        return
    items = mapped_items(store, there.run)
    if not items:
        raise OutputError(
            public_url(store.root), "no cell of this run is finished", "Map it, then publish it"
        )
    given = there.given
    with show_progress(console):
        if there.target is not None:
            stage = f"copying to {public_url(there.target.root)}"
            report_progress(RunProgress(stage))
            copied = copy_run(
                store,
                items,
                there.target,
                embeddings=given.embeddings,
                prune=given.prune,
                progress=lambda done, of: report_progress(RunProgress(stage, of, done)),
            )
            files, size = copied.sent
            gone = f", {copied.removed} cells removed" if copied.removed else ""
            say(
                console,
                f"Copied   {public_url(there.target.root)}: {copied.cells} cells; {files:,} files "
                f"with {size:,} bytes were sent{gone}",
            )
        if there.api is not None:
            name = there.collection[0]
            registering = f"registering at {there.api.location}"
            report_progress(RunProgress(registering))
            removed = publish_at_api(
                store,
                items,
                there.api,
                there.collection,
                there.base,
                title=given.title,
                embeddings=given.embeddings,
                prune=given.prune,
                progress=lambda done, of: report_progress(RunProgress(registering, of, done)),
            )
            gone = f", {removed} removed" if removed else ""
            say(
                console,
                f"STAC     {there.api.location}/collections/{name}: {len(items)} items{gone}",
            )
