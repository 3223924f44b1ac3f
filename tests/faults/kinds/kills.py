"""Processes that are killed, terminated or stopped: driver, group, worker, scheduler, server."""

import signal
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil

from tests.faults.commands import Command, processes_of
from tests.faults.kinds.kind import Kind
from tests.faults.moments import Moment, moment_of_map, moment_of_plan
from tests.faults.trial import OWN_SERVER, Started, Trial
from tests.scheduler_file import scheduler_address

ENDING = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_SERVER = "flows.execution.prefect_server"


def draw_place(trial: Trial, *, remote: float = 0.25) -> None:
    """Let the product go to S3 now and then."""
    trial.use(remote=trial.draw.random() < remote)


def _end_at(
    trial: Trial,
    moment: Moment,
    *,
    group: bool = False,
    environment: Mapping[str, str] | None = None,
) -> signal.Signals:
    """Start the command, and end it at a moment, if that comes; by which signal."""
    number = trial.draw.choice(ENDING)
    started = trial.start(environment=environment)
    if trial.at(moment, started):
        trial.end(started, number, group=group)
    return number


def _kill_driver(trial: Trial) -> None:
    draw_place(trial)
    number = _end_at(trial, moment_of_map(trial.draw))
    trial.note(f"{number.name} to the driver, product in {trial.place.out.split(':')[0]}")


def _kill_driver_of_processes(trial: Trial) -> None:
    trial.use(cluster="local")
    number = _end_at(trial, moment_of_map(trial.draw, "run.json"))
    trial.note(f"{number.name} to the driver of local workers")


def _kill_group(trial: Trial) -> None:
    own = trial.draw.random() < 0.3
    environment = OWN_SERVER if own else None
    number = _end_at(trial, moment_of_map(trial.draw), group=True, environment=environment)
    trial.note(f"{number.name} to the group{', with a Prefect server of its own' if own else ''}")


def _kill_group_of_processes(trial: Trial) -> None:
    trial.use(cluster="local")
    number = _end_at(trial, moment_of_map(trial.draw, "run.json"), group=True)
    trial.note(f"{number.name} to the group of local workers")


def _kill_twice(trial: Trial) -> None:
    draw_place(trial)
    for _ in range(2):
        started = trial.start()
        if trial.at(moment_of_map(trial.draw), started):
            trial.end(started, signal.SIGKILL)
        started.command.wait(trial.seconds)
    trial.note("SIGKILL, and SIGKILL again to the command that went on")


def _stop_driver(trial: Trial) -> None:
    cluster = trial.draw.choice(("threads", "threads", "local"))
    trial.use(cluster=cluster)
    seconds = trial.draw.choice((1, 3, 8, 20))
    started = trial.start()
    if trial.at(moment_of_map(trial.draw), started):
        started.command.send(signal.SIGSTOP)
        time.sleep(seconds)
        started.command.send(signal.SIGCONT)
    trial.note(f"the driver stopped for {seconds} s, {cluster}")


def workers_of(started: Started) -> list[psutil.Process]:
    """The local worker processes of a command."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(started.command.pid).children()
        return [child for child in children if _is_worker(child)]
    return []


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


def _kill_worker(trial: Trial) -> None:
    trial.use(cluster="local")
    number = trial.draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP))
    times = trial.draw.choice((1, 1, 2, 5))
    early = trial.draw.random() < 0.3
    started = trial.start()
    if early:
        _wait_for_workers(started)
        trial.struck = True
        trial.note("as soon as there is a worker")
    elif not trial.at(moment_of_map(trial.draw, "run.json"), started):
        return
    for _ in range(times):
        for worker in workers_of(started)[:1]:
            with suppress(psutil.NoSuchProcess):
                worker.send_signal(number)
                if number == signal.SIGSTOP:
                    time.sleep(5)
                    worker.send_signal(signal.SIGCONT)
        time.sleep(trial.draw.uniform(0, 2) if times > 1 else 0)
    trial.note(f"{number.name} to a local worker, {times} times")


def _wait_for_workers(started: Started) -> None:
    while not workers_of(started) and not started.command.ended.wait(0.02):
        pass


def _kill_server(trial: Trial) -> None:
    number = trial.draw.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP))
    started = trial.start(environment=OWN_SERVER)
    if not trial.at(moment_of_map(trial.draw), started):
        return
    servers = [
        process
        for process in processes_of(trial.room.mark)
        if _SERVER in " ".join(process.cmdline())
    ]
    for server in servers:
        server.send_signal(number)
    if number == signal.SIGSTOP:
        time.sleep(5)
        for server in servers:
            with suppress(psutil.NoSuchProcess):
                server.send_signal(signal.SIGCONT)
    trial.note(f"{number.name} to the run's Prefect server")


def dask_cluster(trial: Trial, workers: int = 2) -> tuple[str, Command, list[Command]]:
    """Start a scheduler and workers; the scheduler's address, and their processes."""
    file = trial.room.folder / f"scheduler-{len(trial.helpers)}.json"
    scheduler = trial.help_with(
        "distributed.cli.dask_scheduler",
        ["--no-dashboard", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)],
    )
    address = scheduler_address(file)
    started = [
        trial.help_with(
            "distributed.cli.dask_worker",
            ["--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--no-nanny"],
        )
        for _ in range(workers)
    ]
    return address, scheduler, started


def _kill_scheduler(trial: Trial) -> None:
    address, scheduler, workers = dask_cluster(trial)
    victim = trial.draw.choice(("scheduler", "worker", "all workers"))
    number = trial.draw.choice((signal.SIGKILL, signal.SIGTERM))
    trial.resumed_by = trial.job  # on threads: the cluster may be gone
    trial.use(cluster=address)
    started = trial.start()
    if not trial.at(moment_of_map(trial.draw, "run.json"), started):
        return
    victims = {"scheduler": [scheduler], "worker": workers[:1], "all workers": workers}[victim]
    for each in victims:
        each.send(number)
    if victim == "all workers":
        time.sleep(2)
        trial.help_with(
            "distributed.cli.dask_worker",
            [address, "--nthreads", "1", "--no-dashboard", "--no-nanny"],
        )
    trial.note(f"{number.name} to the {victim} of a running Dask cluster")


def _kill_plan(trial: Trial) -> None:
    draw_place(trial)
    trial.resumed_by = trial.job
    trial.use(flow="plan")
    number = _end_at(trial, moment_of_plan(trial.draw))
    trial.note(f"{number.name} to `timesen plan`, then `timesen map`")


def _kill_classification(trial: Trial) -> None:
    trial.use(flow="classify", source=trial.world.kept_embeddings(trial.room), words="turned")
    number = _end_at(trial, moment_of_map(trial.draw))
    trial.note(f"{number.name} to `timesen classify`")


KILLS = (
    Kind("driver killed", _kill_driver),
    Kind("driver of local workers killed", _kill_driver_of_processes),
    Kind("process group killed", _kill_group),
    Kind("process group of local workers killed", _kill_group_of_processes),
    Kind("driver killed twice", _kill_twice),
    Kind("driver stopped for a while", _stop_driver),
    Kind("local worker killed", _kill_worker),
    Kind("Prefect's server killed", _kill_server),
    Kind("Dask scheduler or worker killed", _kill_scheduler),
    Kind("`plan` killed", _kill_plan),
    Kind("`classify` killed", _kill_classification),
)
