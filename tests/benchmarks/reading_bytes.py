"""Part E: requested bytes beside the necessary ones, and the saving of masks."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.reading_archive import Archives, Stac, cell_of, rasters_of
from tests.benchmarks.reading_compare import OURS, held, small_job
from tests.benchmarks.reading_floor import stored_bytes
from tests.benchmarks.reading_job import Job, in_own_process, make_job, say, write_json
from tests.benchmarks.reading_memory import KEEP
from tests.nginx import Nginx

_WAYS = (OURS, "stackstac", "odc-stac")
_MOST_BYTES = 1.1
_ANY_CLASS = list(range(1, 12))
_MASKINGS: dict[str, dict[str, Any]] = {
    "everything": {"keep": _ANY_CLASS},
    "blocks with a clear pixel": {"keep": KEEP},
    "at most 6 a month, 1 % clear": {"keep": KEEP, "most": 6, "least": 0.01},
    "at most 3 a month, 1 % clear": {"keep": KEEP, "most": 3, "least": 0.01},
}


@dataclass(frozen=True)
class Asked:
    """A server's traffic for a job's rasters: files, requests, and bytes without heads."""

    files: int
    requests: int
    sent: int


def bytes_section(archives: Archives, server: Nginx, _repeats: int) -> str:
    """Part E."""
    job = small_job(archives, server.address)
    needed = stored_bytes(job)
    lines: list[str] = []
    shares: dict[str, float] = {}
    for way in _WAYS:
        _, asked = _counted(server, job, "reading_ways", way)
        shares[way] = asked.sent / needed
        lines.append(
            f"| {way} | {asked.requests:,} | {asked.sent / 1e6:.1f} MB | {shares[way]:.3f} |"
        )
    ours = shares[OURS]
    saved = "\n".join(
        row
        for name, folder in (("as it is", archives.year), ("cloudier", archives.cloudy))
        for row in _saved(server, archives, name, folder)
    )
    table = "\n".join(lines)
    return f"""## E. Bytes

The read of part A, by the server's own log (answers without their heads), beside the
{needed / 1e6:.1f} MB of deflated blocks that the cell needs.

| way | requests | bytes | of what is needed |
|---|---:|---:|---:|
{table}

- timesen fetches {ours:.3f} times what is needed, {held(ours <= _MOST_BYTES)} {_MOST_BYTES}.

What the scene classification saves: series of all ten bands of a 2048² cell of 60 dates, the
archive's clouds as they are ({archives.made.clear:.0%} of its pixels are not cloud), and a cloudier
year: 85 to 100 % cloud on all but eight dates. The classification itself is in the counts. With
five dates a month, "at most 6" leaves out only those of which less than a hundredth is clear.

| archive | read | dates | files | bytes | of everything | seconds |
|---|---|---:|---:|---:|---:|---:|
{saved}
"""


def _saved(server: Nginx, archives: Archives, name: str, folder: Path) -> list[str]:
    items = archives.items(folder, server.address)
    warm = archives.items(archives.copies, server.address)[:2]
    job = make_job(items, warm, cell_of(2048))
    rows: list[str] = []
    everything = 0
    for label, masking in _MASKINGS.items():
        done, asked = _counted(server, job, "reading_series", json.dumps(masking))
        everything = everything or asked.sent
        rows.append(
            f"| {name} | {label} | {done['read']} | {asked.files} | {asked.sent / 1e6:.0f} MB "
            f"| {asked.sent / everything:.0%} | {done['seconds']:.1f} |"
        )
    return rows


def _counted(server: Nginx, job: Job, module: str, how: str) -> tuple[dict[str, Any], Asked]:
    server.forget()
    with tempfile.TemporaryDirectory() as folder:
        done = in_own_process(module, how, write_json(Path(folder) / "job.json", job))
    asked = _asked(server, job.items)
    say(f"  {how}: {asked.requests} requests, {asked.sent / 1e6:.1f} MB")
    return done, asked


def _asked(server: Nginx, items: Stac) -> Asked:
    paths = {href.removeprefix(server.address) for _, href in rasters_of(items)}
    requests = [request for request in server.requests() if request.path in paths]
    return Asked(
        files=len({request.path for request in requests}),
        requests=len(requests),
        sent=sum(request.body for request in requests),
    )
