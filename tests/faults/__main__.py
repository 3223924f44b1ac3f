"""Try faults: `python -m tests.faults --count 200 --seed 1 --table docs/reliability.md`."""

import argparse
import resource
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.kinds import KINDS
from tests.faults.outcome import FINE, Outcome, try_fault
from tests.faults.table import fault_table, write_table
from tests.faults.world import open_world


def main() -> int:
    """Try the faults of some seeds; the exit code is 1 where one did harm."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many faults, a seed each")
    parser.add_argument("--kinds", default="", help="only kinds whose name has this in it")
    parser.add_argument("--at-once", type=int, default=2, help="how many at a time")
    parser.add_argument("--table", type=Path, help="the page that takes the table")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seeds = range(given.seed, sys.maxsize)
    chosen = (seed for seed in seeds if given.kinds in KINDS[seed % len(KINDS)].name)
    wanted = [next(chosen) for _ in range(given.count)]
    began = time.monotonic()
    with open_world(given.at_once) as world, ThreadPoolExecutor(given.at_once) as pool:

        def tried(seed: int) -> Outcome:
            outcome = try_fault(world, seed)
            print(f"{outcome.seconds:6.1f} s  {outcome}", flush=True)
            return outcome

        try:
            outcomes = list(pool.map(tried, wanted))
        except BaseException:
            world.zygote.close()  # which ends all commands, so that no thread waits
            pool.shutdown(cancel_futures=True)
            raise
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{fault_table(outcomes)}")
    print(f"{time.monotonic() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of the cores")
    if given.table:
        write_table(given.table, outcomes)
    harmed = [each for each in outcomes if each.verdict not in FINE]
    for each in harmed:
        print(f"\n{each}\n    try it again: python -m tests.faults --seed {each.seed}")
    return 1 if harmed else 0


if __name__ == "__main__":
    sys.exit(main())
