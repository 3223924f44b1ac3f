"""What the tiles of a plan take of machines and networks, by the rates of machines."""

from collections.abc import Callable
from dataclasses import dataclass

from dask.system import CPU_COUNT

from models.encoder.checkpoint import Checkpoint
from models.encoder.inference import device_at_hand
from models.encoder.throughput import count_operations
from pipeline.clusters.settings import ClusterSettings, workers_of
from pipeline.costs.machine_rates import MachineRates, chosen_rates
from pipeline.costs.resources import Resources
from pipeline.mapping.plan_geojson import TilePlan
from pipeline.settings.map import MapSettings

# Operations per second at which runs encode on an NVIDIA H200 (tests/benchmarks/results/gpu.md):
# 2.21 million pixels of 151 MFLOP. It stands for cards that were not measured.
_GPU_OPERATIONS = 2.21e6 * 151e6
_MEASURED_WITHIN = 0.25  # of a run's time, on a machine as busy as when it was measured
_TYPICAL_WITHIN = 2.0  # times as long or as short, with rates that stand for any machine
_NETWORK = (10e6, 100e6)  # bytes per second of a whole run: between slow and fast ones


@dataclass(frozen=True)
class EncoderCost:
    """How a run's pixels are encoded.

    Attributes:
        rate: Pixels per second of all cores of this machine, of its GPU, or of one GPU elsewhere.
        core: Seconds of a core for a pixel; 0 where GPUs encode.
        gpu: Seconds of a GPU for a pixel; 0 where cores encode.
    """

    rate: float
    core: float = 0.0
    gpu: float = 0.0


def rates_of_run(settings: MapSettings) -> tuple[MachineRates, MachineRates]:
    """The rates of the machines that read, and of those that encode; they may be the same.

    Raises SettingsError where the settings name a machine of which none are kept.
    """
    names = settings.costs.machine
    if not names:
        rates = chosen_rates(None)
        return rates, rates
    return chosen_rates(names[0]), chosen_rates(names[-1])


def encoder_cost(
    checkpoint: Checkpoint,
    cluster: ClusterSettings,
    machine: MachineRates,
    measure: Callable[[Checkpoint], float],
) -> EncoderCost:
    """The cost of encoding: as kept of a machine, else as `measure` finds it here."""
    mark = checkpoint.fingerprint[:12]
    here = device_at_hand().type == "cuda"
    if encodes_on_gpu(cluster):
        seconds = machine.gpu_encode.get(mark)
        if seconds is None and here:
            seconds = 1 / measure(checkpoint)
        if seconds is None:
            seconds = count_operations(checkpoint) / _GPU_OPERATIONS
        return EncoderCost(1 / seconds, gpu=seconds)
    if (seconds := machine.encode.get(mark)) is not None:
        return EncoderCost(CPU_COUNT / seconds, core=seconds)  # `held` is that of the reader
    rate = measure(checkpoint)
    return EncoderCost(rate, core=CPU_COUNT / rate)


def encodes_on_gpu(cluster: ClusterSettings) -> bool:
    """Whether the run's pixels are encoded on GPUs: of encoders elsewhere, or of this machine."""
    if workers_of(cluster).encoders:
        return True
    return not cluster.remote and device_at_hand().type == "cuda"


def tile_resources(
    tile: TilePlan,
    written: float,
    reader: MachineRates,
    encoder: EncoderCost,
    processes: int,
) -> Resources:
    """What a tile takes.

    Args:
        tile: The plan of the tile.
        written: Bytes of a pixel in the product.
        reader: The rates of the machines that do all but encode.
        encoder: The cost of encoding.
        processes: Worker processes; each asks for the headers of the rasters that it reads.
    """
    read = tile.read
    reading = read.values * reader.read + read.windows * reader.window
    headers = read.remote_rasters * min(processes, len(tile.cells))
    return Resources(
        core_seconds=reader.held
        * (
            reading * reader.waiting
            + read.composited * reader.composite
            + tile.pixels * (reader.classify + reader.write + encoder.core)
            + len(tile.cells) * reader.cell
        ),
        gpu_seconds=tile.pixels * encoder.gpu,
        bytes_read=read.bytes,
        remote_bytes=read.remote_bytes,
        requests=read.requests + headers,
        bytes_written=tile.pixels * written,
    )


def run_seconds(
    total: Resources, cluster: ClusterSettings, reader: MachineRates
) -> tuple[float, float]:
    """How long a run takes at least and at most, its cores and GPUs being busy side by side.

    With the rates of a machine that was measured, from a quarter less to a quarter more. With
    typical ones, from half to twice as long; and the network gives the least, at its best, or comes
    on top, at its worst.
    """
    workers = workers_of(cluster)
    threads = workers.count * workers.threads
    # Processes of this machine share its cores; each worker elsewhere has its own.
    cores = threads if cluster.remote else min(threads, CPU_COUNT)
    clock = max(total.core_seconds / cores, total.gpu_seconds / max(workers.encoders, 1))
    if reader.measured is not None:
        return (1 - _MEASURED_WITHIN) * clock, (1 + _MEASURED_WITHIN) * clock
    slowest, fastest = (total.remote_bytes / rate for rate in _NETWORK)
    return max(clock / _TYPICAL_WITHIN, fastest), clock * _TYPICAL_WITHIN + slowest
