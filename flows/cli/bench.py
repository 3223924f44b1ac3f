"""The command `timesen bench`: the speed of this machine."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from flows.cli.app import command_app, named_option
from flows.cli.input_checks import require_named
from flows.cli.settings_command import settings_command
from pipeline.settings.map import MachineSettings, MapSettings

if TYPE_CHECKING:
    from pipeline.machine.measure import ReadMeasured

bench_app = command_app(
    "bench", "Measure this machine.", ("timesen bench encoder", "timesen bench machine run.toml")
)
encoder_app = command_app(
    "bench encoder",
    examples=(
        "timesen bench encoder",
        "timesen bench encoder --checkpoint real-land --batch-size 4096",
    ),
)
bench_app.command(encoder_app)


@encoder_app.default
def bench_encoder(
    *,
    checkpoint: Annotated[
        str, named_option("NAME|FOLDER", "A shipped checkpoint's name, or a folder.", "checkpoint")
    ] = "sample",
    batch_size: Annotated[
        int | None,
        Parameter(
            metavar="PIXELS", validator=Number(gte=1), help="Default: what suits the device."
        ),
    ] = None,
) -> int:
    """Show how many pixels per second are encoded here, and in percent of the device's peak."""
    require_named("checkpoint", checkpoint)
    # Imported here: torch takes seconds, which a wrong name need not wait for.
    import torch
    from dask.system import CPU_COUNT

    from models.encoder.checkpoint import load_checkpoint
    from models.encoder.inference import device_at_hand
    from models.encoder.throughput import measure_throughput

    device = device_at_hand()
    gpu = device.type == "cuda"
    threads = 1 if gpu else CPU_COUNT
    found = measure_throughput(
        load_checkpoint(checkpoint), device, threads=threads, batch_size=batch_size
    )
    name = torch.cuda.get_device_name(device) if gpu else f"CPU, {threads} threads"
    speed, operations = f"{found.pixels:,.0f} pixels per second", found.operations / 1e6
    print(f"device      {name}, {'float16' if gpu else 'float32'}")
    print(f"throughput  {speed}, {operations:.1f} MFLOP each")
    print(
        f"peak        {found.share:.0%} of {found.peak / 1e9:,.0f} GFLOP/s, which a product of "
        "large matrices reaches here"
    )
    return 0


@bench_app.command
@settings_command(
    "bench machine",
    MachineSettings,
    MapSettings,
    file="RUN.toml",
    examples=(
        "timesen bench machine run.toml",
        "timesen bench machine --region 31UFS --year 2023 --catalog earth-search",
    ),
)
def machine_app(settings: MachineSettings | MapSettings) -> int:
    """Measure how fast this machine reads, encodes and writes, and keep it for plans.

    With a run's settings, or a region and a year, a block of the catalogue's images is read, some
    150 MB at most; else a made-up archive alone.
    """
    from flows.execution.console import PlainConsole, say
    from pipeline.costs.machine_rates import keep_rates
    from pipeline.machine.measure import measure_machine
    from pipeline.settings.map import make_search_settings

    console, searched = PlainConsole(), None
    if settings.region is not None:
        fields = {"region", "year", "first_month", "catalog", "network"}
        searched = make_search_settings(settings.model_dump(include=fields))
    reading = settings.reading if isinstance(settings, MapSettings) else None
    rates, read = measure_machine(
        settings.checkpoint, searched, reading, lambda line: say(console, line)
    )
    gpu, encode = rates.gpu, next(iter((rates.gpu_encode or rates.encode).values()))
    for line in (
        f"machine     {rates.machine}, {gpu or 'without a GPU'}",
        *_read_lines(read),
        f"decoding    {1 / rates.read / 1e6:,.1f} million values per second and core",
        f"encoding    {1 / encode:,.0f} pixels per second and {'GPU' if gpu else 'core'}",
        f"writing     {rates.cell:.2f} core seconds a cell, and {1e6 * rates.write:.2f} a million "
        "pixels",
        f"Kept        {keep_rates(rates)}",
    ):
        say(console, line)
    return 0


def _read_lines(read: "ReadMeasured | None") -> list[str]:
    if read is None:
        return ["reading     a made-up archive only; give a region and a year for a real one"]
    fetched, seconds = read.stats.fetched, read.wall
    return [
        f"reading     {fetched / 1e6:,.0f} MB in {read.stats.requests:,} requests, "
        f"{fetched / seconds / 1e6:,.1f} MB/s, from {read.catalog}"
    ]
