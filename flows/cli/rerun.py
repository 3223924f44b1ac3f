"""The command `timesen rerun`: a run goes on from its folder alone."""

from typing import Annotated

from cyclopts import Parameter

from flows.cli.app import argument, command_app

rerun_app = command_app(
    "rerun", examples=("timesen rerun runs/a", "timesen rerun runs/a --retry-left-out")
)


@rerun_app.default
def run_again(
    run: Annotated[str, argument("RUN", "A run's folder, or s3:// URL.")],
    /,
    *,
    retry_left_out: Annotated[
        bool,
        Parameter(negative=(), help="Map cells again that rasters were left out of, too."),
    ] = False,
) -> int:
    """Map the cells of a run that failed or are left, by the settings in its folder.

    What those settings name, such as the region's file, must be where it was. Use it with
    --retry-left-out when a provider has mended or uploaded rasters that were missing or damaged.
    """
    from flows.cli.map import run_map
    from pipeline.errors import OutputError
    from pipeline.io.store import Store, public_url
    from pipeline.product.ledger import read_run
    from pipeline.settings.map import make_settings

    store = Store(run)
    if kind := read_run(store).derived_kind:
        made = "smooth" if kind == "smoothing" else kind
        problem = f"timesen {made} made this run of others, and it reads no images"
        raise OutputError(public_url(store.root), problem, f"Call timesen {made} again to go on")
    settings = make_settings({**read_run(store).settings, "out": store.root}, f"run {run}")
    return run_map(settings, retry_left_out=retry_left_out)
