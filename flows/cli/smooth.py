"""The command `timesen smooth`: a smoothed map as a run of its own."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.app import argument, command_app
from flows.cli.gdal_place import say_raster
from flows.cli.input_checks import require_run
from flows.execution.console import PlainConsole, show_progress
from flows.execution.progress import RunProgress, report_progress
from models.errors import UserError

if TYPE_CHECKING:
    from pipeline.derived.smoothing import Smoothing

_LARGEST_UNIT = 25.0  # hectares, that of CORINE; the pixels read around a cell grow with it
_LARGEST_WINDOW = 99

smooth_app = command_app(
    "smooth",
    usage="Usage: timesen smooth RUN --out FOLDER --majority N | --min-unit HA | --bayes [OPTIONS]",
    examples=(
        "timesen smooth runs/a --majority 5 --out runs/a-majority",
        "timesen smooth runs/a --min-unit 0.5 --out runs/a-unit",
        "timesen smooth runs/a --bayes --out runs/a-bayes",
    ),
)


@smooth_app.default
def run_smooth(
    folder: Annotated[str, argument("RUN", "A run's folder, or s3:// URL; it stays as it is.")],
    /,
    *,
    out: Annotated[str, Parameter(metavar="FOLDER", help="The smoothed run's folder.")],
    majority: Annotated[
        int | None,
        Parameter(metavar="N", help="The most frequent class of N × N pixels, an odd number."),
    ] = None,
    min_unit: Annotated[
        float | None,
        Parameter(metavar="HA", help="Patches of fewer hectares give way to larger ones."),
    ] = None,
    bayes: Annotated[
        bool,
        Parameter(negative=(), help="Smooth the probabilities; the run must keep ranks (top_k)."),
    ] = False,
    window: Annotated[
        int | None, Parameter(metavar="N", help="The neighbourhood of --bayes; default: 7.")
    ] = None,
    smoothness: Annotated[
        float | None,
        Parameter(
            metavar="VARIANCE", help="Of a logit, with --bayes; more is smoother; default: 20."
        ),
    ] = None,
    fraction: Annotated[
        float | None,
        Parameter(
            metavar="SHARE", help="The part of neighbours that counts, the highest; default: 1."
        ),
    ] = None,
) -> int:
    """Make a smoothed map of a run, across the seams of cells, tiles and zones.

    It is a run of its own: `areas`, `sample`, `evaluate`, `export` and `change` take it.
    """
    method = _method(majority, min_unit, bayes, window, smoothness, fraction)
    require_run(folder)
    # Imported here: SciPy, shapely and GDAL take a second, which a mistake need not wait for.
    from pipeline.derived.derived_run import open_source_run
    from pipeline.derived.smooth import smooth_run
    from pipeline.product.layers import CLASS

    console = PlainConsole()
    with show_progress(console):
        report_progress(RunProgress("reading the run"))
        source = open_source_run(folder)

        def report(done: int) -> None:
            report_progress(RunProgress("smoothing", total=len(source.items), done=done))

        store = smooth_run(source, method, out, report)
    say_raster(console, "Map      ", store, CLASS.mosaic_file)
    return 0


def _method(
    majority: int | None,
    min_unit: float | None,
    bayes: bool,
    window: int | None,
    smoothness: float | None,
    fraction: float | None,
) -> "Smoothing":
    """The method that the options name; raises UserError unless they name one, rightly."""
    given = [
        name
        for name, value in (("--majority", majority), ("--min-unit", min_unit))
        if value is not None
    ]
    given += ["--bayes"] if bayes else []
    if len(given) != 1:
        what = " and ".join(given) or "timesen smooth"
        raise UserError(
            what, "it takes one way to smooth", "Give --majority, --min-unit or --bayes"
        )
    of_bayes = {"--window": window, "--smoothness": smoothness, "--fraction": fraction}
    for name, value in of_bayes.items():
        if value is not None and not bayes:
            raise UserError(f"{name} {value:g}", "it belongs to --bayes", "Leave it out")
    for name, side in (("--majority", majority), ("--window", window)):
        if side is not None and not (3 <= side <= _LARGEST_WINDOW and side % 2):
            told = f"a window has an odd number of pixels, 3 to {_LARGEST_WINDOW}"
            raise UserError(f"{name} {side}", told, "Give 3, 5 or 7")
    if min_unit is not None and not 0 < min_unit <= _LARGEST_UNIT:
        told = f"a unit is more than 0 and at most {_LARGEST_UNIT:g} ha"
        raise UserError(f"--min-unit {min_unit:g}", told, "Give hectares, such as 0.5")
    if smoothness is not None and not 0 < smoothness < float("inf"):
        raise UserError(f"--smoothness {smoothness:g}", "a variance is above 0", "Give 20")
    if fraction is not None and not 0 < fraction <= 1:
        raise UserError(f"--fraction {fraction:g}", "it is a share, 0 to 1", "Give 0.5")
    from pipeline.derived.smoothing import BayesianSmoothing, MajoritySmoothing, UnitSmoothing

    if majority is not None:
        return MajoritySmoothing(majority)
    if min_unit is not None:
        return UnitSmoothing(min_unit)
    usual = BayesianSmoothing()
    return BayesianSmoothing(
        window=usual.window if window is None else window,
        smoothness=usual.smoothness if smoothness is None else smoothness,
        fraction=usual.fraction if fraction is None else fraction,
    )
