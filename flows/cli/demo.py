"""The command `timesen demo`: a map of the sample archive, with nothing to set up."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.app import command_app
from flows.cli.map import run_map
from flows.execution.console import PlainConsole
from pipeline.settings.map import make_settings

if TYPE_CHECKING:
    from pipeline.evaluation.classification import Classification

# What the demo needs is imported in its functions: its help is there at once.

_VOCABULARY, _YEAR = "sample-landscape", 2021

demo_app = command_app(
    "demo", examples=("timesen demo", "timesen demo --real ../shared/data --folder /data/demo")
)


@demo_app.default
def run_demo(
    *,
    folder: Annotated[Path, Parameter(metavar="FOLDER", help="Where to put it.")] = Path("demo"),
    real: Annotated[
        Path | None,
        Parameter(
            metavar="DATA",
            help="Map a real square kilometre of Belgium instead: the folder that holds "
            "WorldCereal's real/belgium_2021_patch.nc, or an archive that was made of it.",
        ),
    ] = None,
) -> int:
    """Map a made-up landscape that comes with timesen, or real land, offline, in a few minutes."""
    console = PlainConsole()
    if real is not None:
        return _map_real_land(real, folder, console)
    return _map_made_land(folder, console)


def _map_made_land(folder: Path, console: Console) -> int:
    from models.vocabulary.vocabulary import load_vocabulary
    from pipeline.sample.agreement import agreement_with_truth
    from pipeline.sample.archive import write_archive

    _say_step(console, "1/2", "The sample archive: a made-up landscape in four Sentinel-2 tiles …")
    archive = folder / "archive"
    if not (archive / "catalog.json").exists():  # written last
        write_archive(archive, year=_YEAR)
    settings = make_settings(
        {
            "region": str(archive / "region.geojson"),
            "year": _YEAR,
            "vocabulary": _VOCABULARY,
            "checkpoint": "sample",
            "catalog": {"url": str(archive)},
            "out": str(folder / "map"),
        },
        source="demo",
    )
    _say_step(console, "2/2", "The map: 12 classes asked for in words …")
    code = run_map(settings)
    result = agreement_with_truth(folder / "map", archive, load_vocabulary(_VOCABULARY))
    console.print(_table(result))
    console.print(_where(folder / "map"), soft_wrap=True)
    console.print(
        "The sample checkpoint and landscape are for demonstration: they say nothing of real land.",
        soft_wrap=True,
    )
    return code


def _map_real_land(data: Path, folder: Path, console: Console) -> int:
    from pipeline.real_land.belgium import BBOX, write_belgian_archive

    _say_step(console, "1/2", "The archive: a square kilometre of Belgium, November 2020 on …")
    archive = data
    if not (data / "catalog.json").exists():
        archive = folder / "belgium"
        if not (archive / "catalog.json").exists():  # written last
            write_belgian_archive(data, archive)
    settings = make_settings(
        {
            "region": BBOX,
            "year": 2020,
            "first_month": 11,
            "vocabulary": "lucas-land-cover",
            "checkpoint": "real-land",
            "catalog": {"url": str(archive)},
            "out": str(folder / "belgium-map"),
        },
        source="demo",
    )
    _say_step(console, "2/2", "The map: LUCAS land cover, by the checkpoint real-land …")
    code = run_map(settings)
    console.print(_where(folder / "belgium-map"), soft_wrap=True)
    return code


def _say_step(console: Console, number: str, text: str) -> None:
    console.print(Text.assemble((number, "bold"), f" {text}"))


def _table(result: "Classification") -> Table:
    table = Table(title=f"Agreement with the known truth: {result.accuracy:.1%} of pixels")
    table.add_column("class")
    for heading in ("pixels", "found", "right"):
        table.add_column(heading, justify="right")
    for entry in result.by_class:
        found, right = entry.recall or 0.0, entry.precision or 0.0
        table.add_row(entry.name, f"{entry.support:,}", f"{found:.1%}", f"{right:.1%}")
    return table


def _where(run: Path) -> str:
    from pipeline.layout import QGIS_PROJECT
    from pipeline.product.layers import CLASS

    return (
        f"The map is {run.absolute() / CLASS.mosaic_file}\n"
        f"In a browser: timesen view {run}\n"
        f"In QGIS: open {run / QGIS_PROJECT}, or add the map (class.vrt) as a raster layer; its "
        "colours and class names load with it."
    )
