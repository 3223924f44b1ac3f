"""Part C: the memory of making monthly series, ours and stackstac's, and ours by dates."""

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.reading_archive import Archives, Stac, cell_of
from tests.benchmarks.reading_compare import held
from tests.benchmarks.reading_job import THREADS, in_own_process, make_job, say, write_json
from tests.nginx import Nginx

KEEP = [4, 5, 6, 7]
MOST = 6
DATES = (60, 120, 240)
_SMALL, _LARGE = 1024, 2048
_MOST_MEMORY, _MOST_COMPOSITING, _MOST_GROWTH = 0.2, 1 / 3, 1.1


def memory_section(archives: Archives, server: Nginx, _repeats: int) -> str:
    """Part C."""
    plain = _plain(archives, server.address)
    ours, theirs = plain["timesen"], plain["stackstac"]
    share = ours["peak"] / theirs["peak"]
    rows = [_of_dates(archives, server.address, dates) for dates in DATES]
    growth = rows[-1]["peak"] / rows[1]["peak"]
    compositing = max(row["compositing"] / row["reading"] for row in rows)
    lines = "\n".join(
        f"| {dates} | {row['read']} | {row['seconds']:.1f} | {row['reading']:.1f} "
        f"| {row['compositing']:.1f} | {row['mask_peak'] / 1e9:.2f} GB "
        f"| {row['peak'] / 1e9:.2f} GB |"
        for dates, row in zip(DATES, rows, strict=True)
    )
    return f"""## C. Series: memory, and compositing beside reading

Masked monthly medians with gaps filled of a {_SMALL}² cell of 60 dates, as numpy arrays
(`tests.benchmarks.plain`): read, masked and composited. One run.

| way | seconds | peak memory |
|---|---:|---:|
| timesen | {ours["seconds"]:.1f} | {ours["peak"] / 1e9:.2f} GB |
| stackstac | {theirs["seconds"]:.1f} | {theirs["peak"] / 1e9:.2f} GB |

- timesen's peak is {share:.2f} of stackstac's, {held(share <= _MOST_MEMORY)} {_MOST_MEMORY}.

Ours on a {_LARGE}² cell by the number of dates, of which {MOST} a month are read at most; a series
is dropped when it is made. Seconds of reading and compositing are summed over {THREADS} threads.
Peaks while the scene classifications were read, and while the series were made.

| dates | read | seconds | reading | compositing | peak, mask | peak, series |
|---:|---:|---:|---:|---:|---:|---:|
{lines}

- With {DATES[-1]} dates the peak of the series is {growth:.2f} times that with {DATES[1]}, \
{held(growth <= _MOST_GROWTH)} {_MOST_GROWTH} (not growing).
- Compositing takes {compositing:.2f} of reading at most, \
{held(compositing <= _MOST_COMPOSITING)} a third.
"""


def _plain(archives: Archives, address: str) -> dict[str, dict[str, Any]]:
    cell = cell_of(_SMALL)
    items = archives.items(archives.year, address)
    about = {
        "bounds": cell.bounds,
        "epsg": cell.epsg,
        "keep": KEEP,
        "tile": cell.tile.name,
        "place": make_job([], [], cell).place,
        "threads": THREADS,
    }
    done = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = (
            write_json(folder / "items.json", items),
            write_json(folder / "cell.json", about),
            folder / "series.npy",
        )
        for way in ("timesen", "stackstac"):
            done[way] = in_own_process("plain", way, *files)
            say(f"  {way}: {done[way]['seconds']:.1f} s, {done[way]['peak'] / 1e9:.2f} GB")
    return done


def _of_dates(archives: Archives, address: str, dates: int) -> dict[str, Any]:
    year = archives.items(archives.year, address)
    copies = archives.items(archives.copies, address)
    a_date = len(copies) // len(year)  # copies of each date, one after the other
    extra = dates // len(year) - 1
    items: Stac = sorted(
        [*year, *(item for k, item in enumerate(copies) if k % a_date < extra)],
        key=lambda item: str(item["properties"]["datetime"]),
    )
    job = make_job(items, copies[:2], cell_of(_LARGE))
    with tempfile.TemporaryDirectory() as folder:
        file = write_json(Path(folder) / "job.json", job)
        masking = json.dumps({"keep": KEEP, "most": MOST})
        done = in_own_process("reading_series", masking, file)
    say(f"  {dates} dates: {done['seconds']:.1f} s, {done['peak'] / 1e9:.2f} GB")
    return done
