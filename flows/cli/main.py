"""The command `timesen`: the list of its commands, each in a file of its own.

A command's file is imported when the command is called: Dask, Prefect and torch take seconds.
"""

import io
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from itertools import count
from typing import Any

from cyclopts import App, Group

from flows.cli.app import INTERRUPTED, command_app, run_app
from models.visible_text import visible_lines
from pipeline.io.redaction import VisibleFilter

_COMMANDS = {
    "Maps": {
        "demo": "Map a made-up landscape, offline, in a few minutes.",
        "init": "Write the settings of a run to a file, with comments.",
        "plan": "Show what a run would read, compute and write, and its cost; run nothing.",
        "map": "Map a region.",
        "map-regions": "Map many regions and years from one file.",
        "publish": "Write map and report of a run that was mapped in shards.",
        "rerun": "Go on with a run from its folder; try again what was left out.",
        "status": "Show which cells of a run are done, failed, or left.",
        "deploy": "Give each region of a file a deployment on a Prefect server.",
        "classify": "Map other classes from the embeddings that a run kept.",
        "query": "Show where a run's pixels are similar to words, or to a place.",
        "smooth": "Make a smoothed map of a run; the raw one stays.",
        "change": "Compare two runs: what became what, where, and how sure it is.",
        "view": "Look at the map of a run in a browser, and ask it for anything in words.",
        "export": "Write the map of a run as one GeoTIFF, in a CRS of your choice.",
        "areas": "Sum up hectares by class and zone, corrected by reference points if given.",
    },
    "What maps are made of": {
        "vocabulary": "Show, check and embed lists of classes.",
        "checkpoint": "Show, import or calibrate checkpoints.",
        "search": "Write the items of a catalogue as a table, to work with offline.",
    },
    "Training and evaluation": {
        "dataset": "Make data to train on: series of points, photos or texts of them, sets.",
        "pretrain": "Pretrain an encoder on a training set.",
        "pretrain-process": "Train as one of the processes that torchrun or Slurm started.",
        "distil": "Make a smaller and faster student of a checkpoint.",
        "sample": "Draw reference points of a map, to label them and to evaluate it.",
        "evaluate": "Measure a checkpoint on labelled series, or a finished map at points.",
    },
    "This machine": {
        "bench": "Measure its speed.",
        "completion": "Print what a shell needs to complete commands, options and names.",
    },
}
"""The commands by their headings in the help."""
_HEADINGS = {name: Group(name, sort_key=place) for place, name in enumerate(_COMMANDS)}
_FILES = {"plan": "map", "classify": "map", "pretrain-process": "pretrain_worker"}
"""The files of commands that stand in another's."""
_GO_ON = {"demo", "map", "classify", "smooth", "change", "dataset", "pretrain", "pretrain-process"}
"""The commands that continue where they were stopped; the others start anew."""
_COMPLETE = "__complete"  # by which the script of a shell asks for names


def main() -> None:
    """Run the command of this process, and end it."""
    # Slurm and Kubernetes stop a job with SIGTERM: it ends as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _open_standard_streams()
    _make_streams_safe()
    code = run(sys.argv[1:])
    if code == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # else threads that are in the middle of a cell would be waited for
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; returns its exit code."""
    goes_on = next(iter(arguments), None) in _GO_ON
    return run_app(app_of(arguments), arguments, goes_on=goes_on)


def app_of(arguments: Sequence[str]) -> App:
    """Make the command with all its commands, of which only that of the arguments is imported."""
    wanted = list(arguments[: 2 if _COMPLETE in arguments[:1] else 1])
    return _with_commands(lambda name: name in wanted)


def whole_app() -> App:
    """Make the command with all its commands imported, which takes seconds."""
    return _with_commands(lambda _: True)


def _with_commands(is_wanted: Callable[[str], bool]) -> App:
    app = command_app(
        "timesen",
        "Land-cover and ecosystem maps from a year of Sentinel-2, by asking for classes in words.",
        ("timesen demo", "timesen map --help", "timesen map run.toml"),
        usage="Usage: timesen COMMAND [OPTIONS]",
        version=f"timesen {version('timesen')}",
        version_flags=["--version"],
        group_commands=Group("Options", sort_key=len(_COMMANDS)),
    )
    numbers = count()
    for heading, commands in _COMMANDS.items():
        for name, text in commands.items():
            number = next(numbers)
            if is_wanted(name):
                module = import_module(f"flows.cli.{_FILES.get(name, name.replace('-', '_'))}")
                command = getattr(module, f"{name.replace('-', '_')}_app")
            else:
                command = App(name=name, help=text)
            command.group, command.sort_key = _HEADINGS[heading], number
            app.command(command)
    return app


def _open_standard_streams() -> None:
    """Open those of 0, 1 and 2 that are closed, as some schedulers of jobs leave them.

    Else the next file or socket has such a number, and subprocesses take it for their own stream.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _make_streams_safe() -> None:
    """Let nothing reach the standard streams that a terminal takes for a command.

    What timesen prints is made safe where it is printed; this is for warnings of libraries and for
    errors that nobody expected. Half a surrogate pair, as in names that are not UTF-8, is escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    plain_warning = warnings.formatwarning
    warnings.formatwarning = lambda *args, **named: visible_lines(plain_warning(*args, **named))
    if logging.lastResort is not None:
        logging.lastResort.addFilter(VisibleFilter())

    def show_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        lines = traceback.format_exception(kind, error, trace)
        print(visible_lines("".join(lines)), end="", file=sys.stderr)

    sys.excepthook = show_error


if __name__ == "__main__":
    main()
