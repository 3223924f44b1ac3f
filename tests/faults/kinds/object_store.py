"""An S3 server that refuses, hangs up before and after storing, answers late, or goes away."""

import threading
import time

from tests.faults.kinds.kills import ENDING
from tests.faults.kinds.kind import Kind
from tests.faults.moments import moment_of_map
from tests.faults.trial import Trial


def _trouble(trial: Trial, share: float, *ways: str, methods: tuple[str, ...] = ()) -> None:
    proxy = trial.room.slot.s3
    trial.use(remote=True)
    proxy.share, proxy.ways, proxy.late = share, ways, trial.draw.choice((0.3, 1.0, 3.0))
    proxy.methods = methods or ("GET", "PUT", "HEAD", "POST", "DELETE")
    proxy.draw.seed(trial.draw.random())
    trial.to_mend(proxy.calm)
    started = trial.start()
    trial.struck = True
    trial.note(f"{share:.0%} of S3's requests: {', '.join(ways)}")
    started.command.wait(trial.seconds)
    trial.note(f"{proxy.failed} failed")


def _refuse(trial: Trial) -> None:
    way = trial.draw.choice(("refuses", "breaks", "denies"))
    _trouble(trial, trial.draw.choice((0.05, 0.3)), way)


def _reset_before(trial: Trial) -> None:
    _trouble(trial, trial.draw.choice((0.1, 0.3)), "resets before")


def _reset_after(trial: Trial) -> None:
    _trouble(
        trial, trial.draw.choice((0.1, 0.3)), "resets after", methods=("PUT", "POST", "DELETE")
    )


def _late(trial: Trial) -> None:
    _trouble(trial, trial.draw.choice((0.1, 0.3)), "late")


def _go_away(trial: Trial) -> None:
    """From a moment on every request is refused; S3 comes back after some seconds, or not."""
    proxy = trial.room.slot.s3
    trial.use(remote=True)
    proxy.ways = (trial.draw.choice(("refuses", "resets before", "denies")),)
    seconds = trial.draw.choice((2, 5, 1000))
    trial.to_mend(proxy.calm)
    started = trial.start()
    if not trial.at(moment_of_map(trial.draw), started):
        return
    proxy.down = True
    timer = threading.Timer(min(seconds, trial.seconds), proxy.calm)
    timer.daemon = True
    timer.start()
    trial.to_mend(timer.cancel)
    trial.note(f"S3 {proxy.ways[0]} everything for {seconds} s")


def _kill_among_resets(trial: Trial) -> None:
    """A driver that is killed while S3 answers late."""
    proxy = trial.room.slot.s3
    trial.use(remote=True)
    proxy.share, proxy.ways, proxy.late = 0.3, ("late", "resets after"), 0.5
    trial.to_mend(proxy.calm)
    started = trial.start()
    if trial.at(moment_of_map(trial.draw), started):
        time.sleep(trial.draw.uniform(0, 0.5))
        trial.end(started, trial.draw.choice(ENDING))
    trial.note("a signal to the driver while S3 answers late or hangs up")


OBJECT_STORE = (
    Kind("S3 refuses", _refuse),
    Kind("S3 hangs up before storing", _reset_before),
    Kind("S3 hangs up after storing", _reset_after),
    Kind("S3 answers late", _late),
    Kind("S3 goes away", _go_away),
    Kind("driver killed while S3 fails", _kill_among_resets),
)
