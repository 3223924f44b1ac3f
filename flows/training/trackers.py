"""Trackers of a training's measures while it runs: TensorBoard, and optionally MLflow or W&B."""

import importlib
import json
import logging
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from flows.training.training_plan import Work
from models.errors import UserError, WorldError
from models.files.json_text import parse_json
from models.files.process_mark import temporary_prefix
from pipeline.io.store import Store, public_text

_log = logging.getLogger(__name__)

EVENTS = "tensorboard"
"""The subfolder of a training's folder that holds TensorBoard's events."""
_TRACKED_RUNS = "tracker.json"
_OTHER_SIGNS = re.compile(r"[^\w./ -]")  # that MLflow takes in no name, such as "=" and ","


class _Tracker(ABC):
    @abstractmethod
    def log(self, step: int, measures: Mapping[str, float]) -> None: ...

    def flush(self) -> None:  # noqa: B027
        """Keep what was logged; by default `log` does."""

    @abstractmethod
    def close(self) -> None: ...


class Trackers:
    """All of a training's trackers. One that fails is left out from then on: training goes on."""

    def __init__(self, trackers: Iterable[_Tracker] = ()) -> None:
        self._trackers = list(trackers)

    def log(self, step: int, measures: Mapping[str, float]) -> None:
        """Show measures after so many steps."""
        self._each(lambda tracker: tracker.log(step, measures))

    def flush(self) -> None:
        """Keep what was logged: a state has been saved."""
        self._each(lambda tracker: tracker.flush())

    def close(self) -> None:
        """Show what is left."""
        self._each(lambda tracker: tracker.close())

    def _each(self, call: Callable[[_Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:
                _log.warning("Measures are no longer shown: %s", public_text(str(error)))
                self._trackers.remove(tracker)


def open_trackers(work: Work, step: int) -> Trackers:
    """The trackers of a training that goes on from a step; close them at its end.

    Raises:
        UserError: A tracker's library is not installed.
        WorldError: A tracker refuses the training.
    """
    trackers: list[_Tracker] = [_TensorBoard(Store(work.run.store.path(EVENTS)), step)]
    if (name := work.settings.tracker) != "none":
        library = tracker_library(name)
        try:
            trackers.append((_MLflow if name == "mlflow" else _WandB)(work, library))
        except Exception as error:
            raise WorldError(
                f"Tracker {name} does not take the training: {public_text(str(error))} Look at its "
                "variables in the environment, or leave tracker out."
            ) from error
    return Trackers(trackers)


def tracker_library(name: str) -> ModuleType:
    """Import a tracker's own library; raises UserError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"tracker {name}",
            f"its library cannot be imported ({error})",
            f"Install it beside timesen, pip install 'timesen[{name}]', or leave tracker out",
        ) from None


class _TensorBoard(_Tracker):
    """Events in the training's folder; for an object store, copied there with each state."""

    def __init__(self, store: Store, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._store = store
        self._temporary = (
            tempfile.TemporaryDirectory(prefix=temporary_prefix("tensorboard"))
            if store.is_remote
            else None
        )
        self._folder = self._temporary.name if self._temporary else store.path()
        # Later steps were logged by processes that died, and are logged again.
        self._writer: Any = SummaryWriter(self._folder, purge_step=step + 1)

    def log(self, step: int, measures: Mapping[str, float]) -> None:
        for name, value in measures.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()
        if self._temporary:
            for file in Path(self._folder).iterdir():
                self._store.write(file.name, file.read_bytes())

    def close(self) -> None:
        self._writer.close()
        if self._temporary:
            self._temporary.cleanup()


class _MLflow(_Tracker):
    """Server and experiment come from MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, work: Work, mlflow: Any) -> None:
        self._mlflow = mlflow
        known = _tracked_run(work, "mlflow")
        name = None if known else Path(work.settings.out).name
        run = mlflow.start_run(run_id=known, run_name=name)
        if known is None:
            _remember_run(work, "mlflow", run.info.run_id)
            mlflow.log_params(work.settings.recipe.model_dump(mode="json"))
            mlflow.set_tag("training set", work.data.fingerprint)

    def log(self, step: int, measures: Mapping[str, float]) -> None:
        named = {_OTHER_SIGNS.sub(" ", name): value for name, value in measures.items()}
        self._mlflow.log_metrics(named, step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _WandB(_Tracker):
    """Key, project and mode come from WANDB_API_KEY, WANDB_PROJECT and WANDB_MODE."""

    def __init__(self, work: Work, wandb: Any) -> None:
        recipe = work.settings.recipe.model_dump(mode="json")
        self._run = wandb.init(
            id=_tracked_run(work, "wandb"),
            resume="allow",
            name=Path(work.settings.out).name,
            config=recipe | {"training set": work.data.fingerprint},
        )
        _remember_run(work, "wandb", self._run.id)

    def log(self, step: int, measures: Mapping[str, float]) -> None:
        self._run.log(dict(measures), step=step)

    def close(self) -> None:
        self._run.finish()


def _tracked_run(work: Work, tracker: str) -> str | None:
    """The tracker's own name of this training, which goes on under it."""
    store = work.run.store
    known: dict[str, str] = {}
    if store.exists(_TRACKED_RUNS):
        known = parse_json(store.read(_TRACKED_RUNS))
    return known.get(tracker)


def _remember_run(work: Work, tracker: str, run: str) -> None:
    work.run.store.write(_TRACKED_RUNS, json.dumps({tracker: run}).encode())
