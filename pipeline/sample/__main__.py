"""`python -m pipeline.sample FOLDER`: write the sample archive."""

import argparse
from pathlib import Path

from pipeline.sample.archive import ARCHIVE_SEED, SIZE, write_archive


def main() -> None:
    """Write the archive and print its addresses."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sample", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--year", type=int, default=2021)
    parser.add_argument("--seed", type=int, default=ARCHIVE_SEED)
    parser.add_argument("--size", type=float, default=SIZE, help="side of the area in metres")
    parser.add_argument("--per-month", type=int, default=3, help="overpasses of each orbit")
    archive = write_archive(**vars(parser.parse_args()))
    print(f"{len(archive.items)} items of {', '.join(archive.tiles)}: {archive.catalog}")
    print(f"region {archive.region}, year {archive.year}; truth: {archive.truth}")


if __name__ == "__main__":
    main()
