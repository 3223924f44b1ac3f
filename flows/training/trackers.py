"""Where a training's measures are shown while it runs: TensorBoard, and MLflow or W&B if asked."""

import contextlib
import importlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from flows.training.training_plan import Work
from models.errors import UserError, WorldError
from pipeline.io.store import Store, public_text

_log = logging.getLogger(__name__)

EVENTS = "tensorboard"
"""The subfolder of a training's folder that holds TensorBoard's events."""
_TRACKED = "tracker.json"


class _Tracker(Protocol):
    def tell(self, step: int, measures: Mapping[str, float]) -> None: ...

    def saved(self) -> None: ...

    def close(self) -> None: ...


class Trackers:
    """All of a training's trackers."""

    def __init__(self) -> None:
        self._trackers: list[_Tracker] = []

    def add(self, tracker: _Tracker) -> None:
        """Have one more."""
        self._trackers.append(tracker)

    def tell(self, step: int, measures: Mapping[str, float]) -> None:
        """Show measures after so many steps."""
        self._each(lambda tracker: tracker.tell(step, measures))

    def saved(self) -> None:
        """Keep what was shown: a state has been saved."""
        self._each(lambda tracker: tracker.saved())

    def close(self) -> None:
        """Show what is left."""
        self._each(lambda tracker: tracker.close())

    def _each(self, does: Callable[[_Tracker], None]) -> None:
        """Do something with each; one that fails is left out from then on: training goes on."""
        for tracker in list(self._trackers):
            try:
                does(tracker)
            except Exception as error:
                _log.warning("Measures are no longer shown: %s", public_text(str(error)))
                self._trackers.remove(tracker)


@contextlib.contextmanager
def trackers_of(work: Work, step: int, *, on: bool) -> Iterator[Trackers]:
    """The trackers of a training that goes on from a step; none where not `on`."""
    trackers = Trackers()
    try:
        if on:
            trackers.add(_TensorBoard(Store(work.run.store.path(EVENTS)), step))
            if (name := work.settings.tracker) != "none":
                trackers.add(_tracker(name, work))
        yield trackers
    finally:
        trackers.close()


def tracker_library(name: str) -> ModuleType:
    """A tracker's own library; raises UserError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"tracker {name}",
            f"its library cannot be imported ({error})",
            f"Install it beside timesen, pip install 'timesen[{name}]', or leave tracker out",
        ) from None


def _tracker(name: str, work: Work) -> _Tracker:
    library = tracker_library(name)
    try:
        return (_MLflow if name == "mlflow" else _WandB)(work, library)
    except Exception as error:
        raise WorldError(
            f"Tracker {name} does not take the training: {public_text(str(error))} Look at its "
            "variables in the environment, or leave tracker out."
        ) from error


class _TensorBoard:
    """Events in the training's folder; for an object store, copied there with each state."""

    def __init__(self, store: Store, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._store = store
        self._temporary = tempfile.TemporaryDirectory() if store.is_remote else None
        self._folder = self._temporary.name if self._temporary else store.path()
        # What was shown of later steps is of processes that died, and is shown again.
        self._writer: Any = SummaryWriter(self._folder, purge_step=step + 1)

    def tell(self, step: int, measures: Mapping[str, float]) -> None:
        for name, value in measures.items():
            self._writer.add_scalar(name, value, step)

    def saved(self) -> None:
        self._writer.flush()
        if self._temporary:
            for file in Path(self._folder).iterdir():
                self._store.write(file.name, file.read_bytes())

    def close(self) -> None:
        self._writer.close()
        if self._temporary:
            self._temporary.cleanup()


class _MLflow:
    """Server and experiment come from MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, work: Work, mlflow: Any) -> None:
        self._mlflow = mlflow
        run = _tracked(work, "mlflow")
        name = Path(work.settings.out).name
        begun = mlflow.start_run(run_id=run, run_name=None if run else name)
        if run is None:
            _track(work, "mlflow", begun.info.run_id)
            mlflow.log_params(work.settings.recipe.model_dump(mode="json"))
            mlflow.set_tag("training set", work.data.card.fingerprint)

    def tell(self, step: int, measures: Mapping[str, float]) -> None:
        # Its names take no "=".
        self._mlflow.log_metrics({n.replace("=", " "): v for n, v in measures.items()}, step=step)

    def saved(self) -> None:
        pass

    def close(self) -> None:
        self._mlflow.end_run()


class _WandB:
    """Key, project and mode come from WANDB_API_KEY, WANDB_PROJECT and WANDB_MODE."""

    def __init__(self, work: Work, wandb: Any) -> None:
        recipe = work.settings.recipe.model_dump(mode="json")
        self._run = wandb.init(
            id=_tracked(work, "wandb"),
            resume="allow",
            name=Path(work.settings.out).name,
            config=recipe | {"training set": work.data.card.fingerprint},
        )
        _track(work, "wandb", self._run.id)

    def tell(self, step: int, measures: Mapping[str, float]) -> None:
        self._run._log(dict(measures), step=step)

    def saved(self) -> None:
        pass

    def close(self) -> None:
        self._run.finish()


def _tracked(work: Work, name: str) -> str | None:
    """The tracker's own name of this training, which goes on under it."""
    store = work.run.store
    known = json.loads(store.read(_TRACKED)) if store.exists(_TRACKED) else {}
    found: str | None = known.get(name)
    return found


def _track(work: Work, name: str, run: str) -> None:
    work.run.store.write(_TRACKED, json.dumps({name: run}).encode())
