"""The command `timesen view`: the map of a run in a browser."""

import socket
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from flows.cli.app import INTERRUPTED, argument, command_app
from flows.execution.console import PlainConsole, say
from models.errors import UserError
from pipeline.errors import OutputError
from pipeline.io.store import public_url
from pipeline.settings.regions import load_regions

if TYPE_CHECKING:
    from pipeline.viewer.viewed_run import ViewedRun

_MOST_RUNS = 20

view_app = command_app(
    "view",
    examples=(
        "timesen view runs/a",
        "timesen view runs/2020 runs/2024",
        "timesen view years.toml",
        "timesen view s3://maps/a --port 8000",
        "timesen view runs/a --export site",
    ),
)


@view_app.default
def run_view(
    *runs: Annotated[
        str,
        argument("RUN", "A run's folder, or s3:// URL; or several; or a file of regions or years."),
    ],
    host: Annotated[
        str,
        Parameter(metavar="ADDRESS", help="The address to listen on; others reach 0.0.0.0, too."),
    ] = "127.0.0.1",
    port: Annotated[
        int | None, Parameter(metavar="NUMBER", help="The port; default: any that is free.")
    ] = None,
    open_browser: Annotated[
        bool, Parameter(name="--open", negative=(), help="Open it in the browser.")
    ] = False,
    export: Annotated[
        str | None,
        Parameter(
            metavar="FOLDER", help="Write a static site of one run there, and serve nothing."
        ),
    ] = None,
    basemap: Annotated[
        str | None,
        Parameter(
            metavar="URL",
            help="Tiles beneath the map: https://tile.example.org/{z}/{x}/{y}.png; default: none.",
        ),
    ] = None,
) -> int:
    """Show the map of a run in a browser: legend, confidence, the year of a pixel.

    If the run kept its embeddings, ask it for anything in words. The server reads the runs alone,
    and listens on this machine alone unless --host says otherwise. Ctrl-C ends it.
    """
    if not 0 < len(runs) <= _MOST_RUNS:
        raise UserError(f"{len(runs)} runs", "too few or too many", "Name a run's folder, or a few")
    # Imported here: help and mistakes need not wait for it.
    import uvicorn

    from pipeline.viewer.app import viewer_app
    from pipeline.viewer.protection import basemap_of, own_names

    if export is not None:
        return _export(runs, export)
    named = None if basemap is None else basemap_of(basemap)
    console = PlainConsole()
    app = viewer_app(_opened(runs, console), own_names(host), named)
    with _listening(host, port) as listening:
        address = _address(host, listening.getsockname()[1])
        say(console, f"Map  {address}")
        if host not in ("127.0.0.1", "localhost", "::1"):
            say(console, "     Everybody who reaches this machine can look at it.")
        say(console, "     Ctrl-C ends it.")
        if open_browser:
            webbrowser.open(address)
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:  # which is how it ends, without waiting for what is still read
            return INTERRUPTED
    return 0


def _opened(runs: Sequence[str], console: Console) -> list["ViewedRun"]:
    """The runs, those of a file of regions by their names there; what is not mapped yet is told."""
    from pipeline.viewer.viewed_run import open_viewed_run

    opened, lacking = [], []
    for run in runs:
        if not run.endswith(".toml") or Path(run).is_dir():
            opened.append(open_viewed_run(run))
            continue
        for one in load_regions(Path(run)):
            try:
                opened.append(open_viewed_run(one.settings.out, one.name))
            except OutputError:
                lacking.append(one.name)
    if not opened:
        raise OutputError(
            runs[0], "no map of it is there yet", f"Map them: timesen map-regions {runs[0]}"
        )
    if len(opened) > _MOST_RUNS:
        raise UserError(
            f"{len(opened)} runs", f"more than {_MOST_RUNS}", "Name the folders of some of them"
        )
    if lacking:
        text = f"warning: not mapped yet: {', '.join(lacking)}"
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    return opened


def _export(runs: tuple[str, ...], folder: str) -> int:
    """Write a static site of a run."""
    from rich.progress import Progress

    from pipeline.viewer.static_site import export_site

    console = PlainConsole()
    opened = _opened(runs, console)
    if len(opened) != 1:
        raise UserError(f"{len(opened)} runs", "a site shows one", "Export each by itself")
    (run,) = opened
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("tiles", total=None)

        def told(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of)

        site = export_site(run, folder, told)
    say(console, f"Site  {public_url(folder)}/index.html")
    say(console, f"      {site.tiles:,} tiles, {site.size:,} bytes. Any web server serves it.")
    return 0


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens; raises UserError where the address or the port is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named: else a tile takes 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port or 0))
        listening.listen()
        return listening
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{host}:{port or 'any port'}", f"cannot listen there ({reason})", "Name another"
        ) from None


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
