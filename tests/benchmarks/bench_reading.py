"""Reading beside the plain ways: speed, memory, latency, bytes, and a mosaic in little memory.

`python -m tests.benchmarks.bench_reading`, about 25 minutes on two cores; `--parts AE` runs
some of it. Writes tests/benchmarks/results/reading.md (parts of it are only printed).
"""

import argparse
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.benchmarks import archive
from tests.benchmarks.reading_archive import Archives, write_archives
from tests.benchmarks.reading_bytes import bytes_section
from tests.benchmarks.reading_compare import large_section, latency_section, read_section
from tests.benchmarks.reading_job import THREADS, say
from tests.benchmarks.reading_memory import memory_section
from tests.benchmarks.reading_mosaic import mosaic_section
from tests.nginx import Nginx, nginx

RESULT = Path(__file__).parent / "results" / "reading.md"

Section = Callable[[Archives, Nginx, int], str]

PARTS: Mapping[str, tuple[Section, int]] = {
    "A": (read_section, 3),
    "B": (large_section, 1),
    "C": (memory_section, 1),
    "D": (latency_section, 2),
    "E": (bytes_section, 1),
    "F": (mosaic_section, 1),
}
"""The function that measures a part and describes it, and the number of its repetitions."""


def document(made: archive.BenchArchive, sections: list[str]) -> str:
    """The whole result, Markdown."""
    parts = "\n".join(sections)
    return f"""# Reading

Made by `python -m tests.benchmarks.bench_reading` on {os.cpu_count()} cores
({platform.machine()}, Linux). An archive of {made.dates} dates ({archive.A_MONTH} a month), ten
bands and the scene classification, DEFLATE, stored at {made.stored:.0%} of its size, is read over
HTTP from nginx on the same machine, which shares its cores. {THREADS} threads; every way in a
process of its own for each run, after other dates of the same cell were read (a third as many;
of large cells a corner), since a worker reads one cell after another. Seconds are medians, by the
clock and of the process's CPU (the server's is not in them); ratios are medians of those within a
turn.

- **timesen**: stackstac with timesen's reader, as the pipeline's tasks use it: a task a band and
  source block, `uint16`, offset removed, bands of 20 m as 20 m.
- **timesen, all at 10 m**: one stack of everything at 10 m, as the others deliver it.
- **stackstac**: as it comes (float64, reflectance, its own reader and chunks); **uint16**:
  `dtype="uint16", fill_value=0, rescale=False`.
- **odc-stac**: `odc.stac.load` as `uint16` with chunks of 1024², its settings for the cloud.
- **async-geotiff**: each raster's window, as many under way at once as timesen has; its decoder in
  Rust.
- **decoding alone**: the deflated blocks that the cell needs are in memory; they are inflated and
  their differences undone by the reader's own code. The floor.
- **fetching and decoding**: the same, each block fetched first by a bare HTTP client in the thread
  that decodes it.
- **GDAL in memory**: the same windows by GDAL of the files in /vsimem.

{parts}"""


def main() -> None:
    """Measure, print the result, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="".join(PARTS), help="such as AE; default: all")
    parser.add_argument("--repeats", type=int, help="of each part; default: as each needs")
    parser.add_argument("--out", type=Path, help="default: the result, if all parts are run")
    arguments = parser.parse_args()
    out: Path | None = arguments.out
    if out is None and set(arguments.parts) >= set(PARTS):
        out = RESULT
    with tempfile.TemporaryDirectory() as folder:
        say("Writing the archives …")
        archives = write_archives(Path(folder))
        sections = []
        with nginx(Path(folder)) as server:
            for name in sorted(arguments.parts):
                say(f"Part {name} …")
                section, repeats = PARTS[name]
                sections.append(section(archives, server, arguments.repeats or repeats))
                say(sections[-1])  # nothing that was measured is lost where a later part fails
    text = document(archives.made, sections)
    if out is not None:
        out.parent.mkdir(exist_ok=True)
        out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
