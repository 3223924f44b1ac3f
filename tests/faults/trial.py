"""One fault's way: what a kind of fault may draw, start, await, note and mend."""

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.commands import Command, processes_of
from tests.faults.jobs import Job
from tests.faults.moments import Moment
from tests.faults.places import Folder, Place
from tests.faults.world import RUN_SECONDS, Room, World

OWN_SERVER = {"PREFECT_API_URL": ""}
"""The environment of a command that starts a Prefect server of its own."""


class Skipped(Exception):
    """A fault that cannot be tried on this machine, and why."""


@dataclass
class Started:
    """A command that a fault disturbs, what it makes, and what may end it without a word."""

    command: Command
    job: Job
    signals: set[int] = field(default_factory=set)


@dataclass
class Trial:
    """One fault.

    Attributes:
        world: What all faults share.
        room: The fault's own folders and servers.
        draw: Its random numbers.
        job: What is run; a kind may set another before it starts a command.
        notes: What was done, for people.
        struck: Whether the fault met a command that ran.
        started: The commands, in their order.
        helpers: Processes that belong to the fault and are no commands, such as a scheduler.
        seconds: After so many a command hangs.
        resumed_by: What resumes it, where that is not the command itself.
        keeps_cells: Whether cells that were finished must not be mapped again.
    """

    world: World
    room: Room
    draw: random.Random
    job: Job
    notes: list[str] = field(default_factory=list)
    struck: bool = False
    started: list[Started] = field(default_factory=list)
    helpers: list[Command] = field(default_factory=list)
    seconds: float = RUN_SECONDS
    resumed_by: Job | None = None
    keeps_cells: bool = True
    _mended_by: list[Callable[[], Any]] = field(default_factory=list)
    _closed_by: list[Callable[[], Any]] = field(default_factory=list)

    @property
    def place(self) -> Place:
        """Where the product lies."""
        return self.world.place(self.room, self.job)

    @property
    def pids(self) -> list[int]:
        """The processes of the commands, those that ended included."""
        return [each.command.pid for each in self.started]

    def use(self, **changes: Any) -> None:
        """Change what is run."""
        self.job = replace(self.job, **changes)

    def note(self, text: str) -> None:
        """Say what is done."""
        self.notes.append(text)

    def start(
        self, job: Job | None = None, environment: Mapping[str, str] | None = None, **more: Any
    ) -> Started:
        """Start a command that makes the product; `more` are attributes of Wanted."""
        job = job or self.job
        arguments = job.arguments(self.place.out)
        command = self.world.start(self.room, "flows.cli", arguments, environment, **more)
        self.started.append(Started(command, job))
        return self.started[-1]

    def help_with(self, module: str, arguments: list[str]) -> Command:
        """Start a process that is no command of timesen, such as a scheduler."""
        own = self.room.folder / "helpers"  # it is killed, so what it leaves there is no matter
        own.mkdir(exist_ok=True)
        environment = {"TMPDIR": str(own)}
        self.helpers.append(self.world.start(self.room, module, arguments, environment))
        return self.helpers[-1]

    def at(self, moment: Moment, started: Started, place: Place | None = None) -> bool:
        """Wait for a moment of a command, and note it; False where it did not come."""
        self.note(f"at {moment}")
        came = moment.wait(started.command, place or self.place)
        self.struck = self.struck or came
        return came

    def end(self, started: Started, number: int, *, group: bool = False) -> None:
        """Send a command a signal that may end it."""
        if started.command.send(number, group=group):
            started.signals.add(number)

    def wait(self) -> None:
        """Wait for all commands; raises Hung."""
        for each in self.started:
            each.command.wait(self.seconds)

    def to_mend(self, mend: Callable[[], Any]) -> None:
        """Undo a part of the fault before the command is started again."""
        self._mended_by.append(mend)

    def mend(self) -> None:
        """Undo the fault, in the reverse order."""
        while self._mended_by:
            self._mended_by.pop()()

    def to_close(self, close: Callable[[], Any]) -> None:
        """Take something away when the fault has been judged."""
        self._closed_by.append(close)

    def close(self) -> None:
        """End all processes and take away what was made for the fault."""
        self.end_helpers()
        self.kill_all()
        self.mend()
        while self._closed_by:
            self._closed_by.pop()()

    def end_helpers(self) -> None:
        """End what is no command."""
        for helper in self.helpers:
            helper.send(9, group=True)

    def kill_all(self) -> None:
        """End every process of the fault."""
        for process in processes_of(self.room.mark, self._living()):
            with suppress(Exception):
                process.kill()

    def _living(self) -> list[int]:
        commands = [each.command for each in self.started] + self.helpers
        return [each.pid for each in commands if not each.ended.is_set()]

    @property
    def on_disk(self) -> bool:
        """Whether the product lies in a folder."""
        return isinstance(self.place, Folder)
