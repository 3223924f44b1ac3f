"""`python -m tests.fuzz`: read many damaged inputs, and keep those that are read wrongly.

`--target NAME` (repeatable; all by default), `--count`, `--seed`, `--seeds FOLDER` (where valid
files are kept between runs), `--keep FOLDER` (where inputs of findings go: tests/fuzz/corpus makes
tests of them). The exit code is 1 if anything was found.
"""

import argparse
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.run import Finding, Outcome, fuzz
from tests.fuzz.targets import TARGETS

_ROW = "{:<14} {:>8} {:>9} {:>9} {:>9} {:>7} {:>9} {:>10}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: all")
    parser.add_argument("--count", type=int, default=100_000, help="inputs of each target")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=Path, help="default: a temporary folder")
    parser.add_argument("--keep", type=Path, help="default: inputs of findings are not kept")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="targets at once")
    given = parser.parse_args()
    print(_ROW.format("target", "inputs", "accepted", "refused", "findings", "per s",
                      "slowest s", "memory MB"), flush=True)  # fmt: skip
    found = 0
    with (
        tempfile.TemporaryDirectory(prefix="timesen-fuzz-seeds-") as temporary,
        ThreadPoolExecutor(given.at_once) as pool,
    ):
        folder = given.seeds or Path(temporary)
        outcomes = pool.map(
            lambda target: fuzz(target, given.count, given.seed, folder, given.first),
            given.target or TARGETS,
        )
        for outcome in outcomes:
            print(_row(outcome), flush=True)
            for finding in outcome.findings.values():
                found += 1
                _tell(outcome.target, given.seed, finding, given.keep)
    return int(found > 0)


def _row(outcome: Outcome) -> str:
    failed = sum(finding.count for finding in outcome.findings.values())
    return _ROW.format(
        outcome.target,
        outcome.inputs,
        outcome.accepted,
        outcome.refused,
        failed,
        f"{outcome.inputs / outcome.seconds:.0f}",
        f"{outcome.slowest:.2f}",
        f"{outcome.grown / 1e6:.0f}",
    )


def _tell(target: str, seed: int, finding: Finding, keep: Path | None) -> None:
    print(f"  {finding.count} × {finding.kind}")
    print(f"  again: python -m tests.fuzz --target {target} --seed {seed} "
          f"--first {finding.number} --count 1")  # fmt: skip
    if not keep:
        return
    name = "".join(c if c.isalnum() else "-" for c in finding.kind.lower())[:80].strip("-")
    for key, content in finding.files.items():
        place = keep / target / name / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (keep / target / f"{name}.trace").write_text(finding.trace)


if __name__ == "__main__":
    sys.exit(main())
