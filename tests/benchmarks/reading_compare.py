"""Parts A, B and D: the same pixels read in several ways, in turns, and their ratios."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.latency_proxy import at_a_distance
from tests.benchmarks.reading_archive import ALL_ASSETS, Archives, cell_of
from tests.benchmarks.reading_job import Job, in_own_process, make_job, say, write_json
from tests.nginx import Nginx

OURS, AT_10M = "timesen", "timesen, all at 10 m"
FLOOR, WITH_TRANSFER = "decoding alone", "fetching and decoding"
SMALL_DATES, SMALL, LARGE = 24, 1024, 2048
DELAY = 0.05  # seconds
WAYS = (
    OURS, AT_10M, "stackstac", "stackstac, uint16", "odc-stac", "async-geotiff", FLOOR,
    WITH_TRANSFER, "GDAL in memory",
)  # fmt: skip
FROM_AFAR = (OURS, "stackstac", "odc-stac")
TARGETS = (("stackstac", 2.5), ("odc-stac", 1.4))
"""The ratio of their time to ours that is wanted at least."""
MOST_OF_RECEIVING, MOST_FROM_AFAR = 1.3, 1.5

Runs = Mapping[str, list[dict[str, Any]]]


def small_job(archives: Archives, address: str) -> Job:
    """24 dates of a cell of 1024 pixels, delivered whole."""
    items = archives.items(archives.year, address)[:SMALL_DATES]
    return make_job(items, _warm(archives, address, SMALL_DATES // 3), cell_of(SMALL))


def large_job(archives: Archives, address: str) -> Job:
    """60 dates of a cell of 2048 pixels, of each chunk of which the maximum is taken."""
    items = archives.items(archives.year, address)
    return make_job(items, _warm(archives, address, 2), cell_of(LARGE), whole=False)


def in_turns(jobs: Mapping[str, tuple[str, Job]], repeats: int) -> Runs:
    """Read each job (label → way, job) in a process of its own, one after the other, repeatedly.

    Raises RuntimeError where ways that read the same do not give equal pixels.
    """
    runs: dict[str, list[dict[str, Any]]] = {label: [] for label in jobs}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeats):
            for label, (way, job) in jobs.items():
                file = write_json(Path(folder) / "job.json", replace(job, digest=turn == 0))
                runs[label].append(in_own_process("reading_ways", way, file))
                say(f"  {label}: {runs[label][-1]['seconds']:.2f} s")
    digests = {label: done[0]["digest"] for label, done in runs.items()}
    first = next(iter(digests.values()))
    if differing := [label for label, digest in digests.items() if digest != first]:
        raise RuntimeError(f"{differing} did not read the same pixels as {next(iter(digests))}")
    return runs


def ratio(runs: Runs, label: str, to: str, figure: str = "seconds") -> float:
    """The ratio of one way's figure to another's: the median of the turns' ratios."""
    turns = zip(runs[label], runs[to], strict=True)
    return median(one[figure] / other[figure] for one, other in turns)


def middle(runs: Runs, label: str, figure: str = "seconds") -> float:
    """The median of a way's figure: seconds, cpu (seconds) or peak (bytes)."""
    return median(one[figure] for one in runs[label])


def table(runs: Runs) -> Iterator[str]:
    """A Markdown table, one line per way."""
    yield "| way | seconds | ratio to timesen | seconds of CPU | its ratio | peak memory |"
    yield "|---|---:|---:|---:|---:|---:|"
    for label in runs:
        yield (
            f"| {label} | {middle(runs, label):.2f} | {ratio(runs, label, OURS):.2f} "
            f"| {middle(runs, label, 'cpu'):.2f} | {ratio(runs, label, OURS, 'cpu'):.2f} "
            f"| {middle(runs, label, 'peak') / 1e9:.2f} GB |"
        )


def verdict(runs: Runs, ours: str) -> Iterator[str]:
    """Whether the targets hold for one of our ways."""
    for way, least in TARGETS:
        times = ratio(runs, way, ours)
        yield f"- {ours}: {times:.2f} times as fast as {way}, {held(times >= least)} {least} times."
    times = ratio(runs, ours, WITH_TRANSFER, "cpu")
    yield (
        f"- {ours}: {times:.2f} times the CPU time of receiving and decoding the same blocks, "
        f"{held(times <= MOST_OF_RECEIVING)} {MOST_OF_RECEIVING} times; by the clock, with the "
        f"server on the same cores, {ratio(runs, ours, WITH_TRANSFER):.2f} times, and "
        f"{ratio(runs, ours, FLOOR):.2f} times decoding alone."
    )


def held(holds: bool) -> str:
    """A figure, and whether it meets its target."""
    return "within the target of" if holds else "**missing the target of**"


def read_section(archives: Archives, server: Nginx, repeats: int) -> str:
    """Part A."""
    job = small_job(archives, server.address)
    runs = in_turns({way: (way, job) for way in WAYS}, repeats)
    return f"""## A. Reading: {SMALL_DATES} dates × {len(ALL_ASSETS)} assets × {SMALL}²

All pixels are delivered, as numpy arrays; equal in all ways (compared as stored, by digest).
Interleaved runs: {repeats}.

{_lines(table(runs))}

{_lines(verdict(runs, OURS))}
{_lines(verdict(runs, AT_10M))}

Where the time goes: seconds of CPU of one more run of timesen, summed over its threads. nginx's own
share of the two cores is not in it.

{_lines(_profile(job))}
"""


def _profile(job: Job) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        spent = in_own_process("reading_profile", write_json(Path(folder) / "job.json", job))
    wall = spent.pop("wall")
    total = sum(spent.values())
    yield "| what | seconds of CPU | share |"
    yield "|---|---:|---:|"
    for name, cpu in sorted(spent.items(), key=lambda part: -part[1]):
        yield f"| {name} | {cpu:.2f} | {cpu / total:.0%} |"
    yield f"| **all**, in {wall:.2f} s by the clock | {total:.2f} | |"


def large_section(archives: Archives, server: Nginx, repeats: int) -> str:
    """Part B."""
    job = large_job(archives, server.address)
    runs = in_turns({way: (way, job) for way in WAYS}, repeats)
    return f"""## B. Reading: {len(job.items)} dates × {len(ALL_ASSETS)} assets × {LARGE}²

As float64 these pixels are 22 GB, so every way hands each of its chunks to a maximum and drops it;
maxima are equal. Interleaved runs: {repeats}.

{_lines(table(runs))}

{_lines(verdict(runs, OURS))}
"""


def latency_section(archives: Archives, server: Nginx, repeats: int) -> str:
    """Part D."""
    with at_a_distance(server.address, 0) as near, at_a_distance(server.address, DELAY) as far:
        places = {"near": near, "far": far}
        jobs = {
            f"{way}, {place}": (way, small_job(archives, at))
            for way in FROM_AFAR
            for place, at in places.items()
        }
        runs = in_turns(jobs, repeats)
    lines = ["| way | near | far | far / near |", "|---|---:|---:|---:|"]
    for way in FROM_AFAR:
        near_s, far_s = middle(runs, f"{way}, near"), middle(runs, f"{way}, far")
        times = ratio(runs, f"{way}, far", f"{way}, near")
        lines.append(f"| {way} | {near_s:.2f} | {far_s:.2f} | {times:.2f} |")
    ours = ratio(runs, f"{OURS}, far", f"{OURS}, near")
    return f"""## D. The same read from afar: {DELAY * 1000:.0f} ms more for every request

The read of part A through a TCP proxy in a process of its own, which passes requests on at once
(near) or {DELAY * 1000:.0f} ms later, a new connection's first one {2 * DELAY * 1000:.0f} ms later
(far), and answers as fast as they come. Seconds, medians of interleaved runs ({repeats}).

{_lines(lines)}

- timesen takes {ours:.2f} times as long from afar, {held(ours <= MOST_FROM_AFAR)} {MOST_FROM_AFAR}.
"""


def _warm(archives: Archives, address: str, dates: int) -> list[dict[str, Any]]:
    return archives.items(archives.copies, address)[:dates]


def _lines(lines: Iterator[str] | Sequence[str]) -> str:
    return "\n".join(lines)
