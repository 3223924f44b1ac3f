import os
import time
from pathlib import Path

import pytest

from flows.execution.progress import RunProgress, progress_listener
from flows.execution.worker_calls import Stage, worker_calls
from models.errors import UserError
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings


def long_work(stage: Stage, first: int, second: list[int], heard: Path) -> tuple[int, int]:
    progress = stage("adding")
    progress(0.5)
    stage("checking")
    until = time.monotonic() + 60
    while not heard.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return os.getpid(), first + sum(second)


def mistaken(_: Stage, given: str) -> None:
    raise UserError(given, "it is none", "Give one")


def deadly(_: Stage) -> None:
    os._exit(1)


@pytest.mark.parametrize("kind", ["threads", "local"])
def test_a_long_function_and_its_progress(kind: str, tmp_path: Path) -> None:
    heard: list[str] = []

    def hear(progress: RunProgress) -> None:
        heard.append(str(progress))
        if progress.stage == "checking":
            (tmp_path / "heard").touch()

    cluster = ClusterSettings(kind=kind, workers=1, threads=1)
    with progress_listener(hear), worker_calls(cluster) as call:
        process, result = call(long_work, 1, [2, 3], tmp_path / "heard")
        assert result == 6
        assert (process == os.getpid()) == (kind == "threads")
        assert heard == ["adding", "adding, 50%", "checking"]
        with pytest.raises(UserError, match=r"that: it is none\. Give one"):
            call(mistaken, "that")
        if kind == "local":
            with pytest.raises(ClusterUnavailable, match="A worker died in the middle"):
                call(deadly)
