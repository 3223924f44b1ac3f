"""`timesen bench`: what the machine at hand does."""

from typing import Annotated

import typer

from flows.cli.options import explained

bench_app = typer.Typer(help="Measure the machine at hand.", no_args_is_help=True)


@bench_app.command()
@explained
def encoder(
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", help="A shipped checkpoint's name or a folder.")
    ] = "sample",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Default: what suits the device.")
    ] = None,
) -> int:
    """Show how many pixels a second are encoded here, and in percent of the device's peak."""
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
    print(f"device      {name}, {'float16' if gpu else 'float32'}")
    print(
        f"throughput  {found.pixels:,.0f} pixels a second, {found.operations / 1e6:.1f} MFLOP each"
    )
    print(
        f"peak        {found.share:.0%} of {found.peak / 1e9:,.0f} GFLOP/s, which a product of "
        "large matrices reaches here"
    )
    return 0
