"""A catalogue and rasters over HTTP that fail, come slowly, or never."""

import random

from tests.faults.archive_server import FAIR, Weather
from tests.faults.kinds.kind import Kind
from tests.faults.trial import Trial
from tests.faulty_server import Outcome

_CATALOGUE, _RASTERS = (".json",), (".tif",)
_FAILING: tuple[Outcome, ...] = (503, 500, 429, "resets", "hangs up", "stops short")


def _weather(trial: Trial, share: float, outcomes: tuple[Outcome, ...], **more: object) -> None:
    """Map from the archive's server in such weather; a raster that is not read fails its cell."""
    archive = trial.room.slot.archive
    trial.use(source=f"{archive.address}/catalog.json", strict=True)
    trial.world.undisturbed(trial.job, trial.room)  # while the server is well
    of = trial.draw.choice((_CATALOGUE, _RASTERS, ("",)))
    draw = random.Random(trial.draw.random())
    archive.how = Weather(share, outcomes, of, draw=draw, **more)  # type: ignore[arg-type]
    trial.to_mend(lambda: setattr(archive, "how", FAIR))
    trial.start()
    trial.struck = True
    trial.note(f"{share:.0%} of the requests for {of[0] or 'all'}: {', '.join(map(str, outcomes))}")


def _fail(trial: Trial) -> None:
    _weather(trial, 0.3, _FAILING)


def _fail_in_one_way(trial: Trial) -> None:
    _weather(trial, trial.draw.choice((0.1, 0.3, 0.6)), (trial.draw.choice(_FAILING),))


def _go_away(trial: Trial) -> None:
    """Whatever is asked for is missing or forbidden, for a part of the files."""
    _weather(trial, 0.02, (trial.draw.choice((403, 404, 410)),))


def _slow(trial: Trial) -> None:
    _weather(trial, trial.draw.choice((0.1, 0.3)), ("trickles",), most=60)


def _hang(trial: Trial) -> None:
    _weather(trial, 0.05, ("stalls",), most=trial.draw.choice((1, 2)))


NETWORK = (
    Kind("30 % of requests fail", _fail),
    Kind("requests fail in one way", _fail_in_one_way),
    Kind("files forbidden or gone", _go_away),
    Kind("slow answers", _slow),
    Kind("requests that hang", _hang),
)
