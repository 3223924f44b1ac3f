"""The command `timesen bench`: the speed of this machine."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from flows.cli.app import command_app, named_option
from flows.cli.input_checks import require_named

bench_app = command_app("bench", "Measure this machine.", ("timesen bench encoder",))
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
