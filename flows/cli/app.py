"""The form of all commands: their help, and how an error becomes a paragraph and an exit code."""

import inspect
import itertools
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter
from rich.console import Console

from flows.cli.help_format import HelpFormat
from flows.cli.shipped_names import COMPLETERS
from models.errors import TimesenError, UserError, WorldError
from models.near_names import nearest_name
from models.visible_text import visible_lines, visible_text
from pipeline.io.store import FULL_DISK, public_text

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C stopped."""

_DEBUG = "--debug"
# What PyTorch, OpenVINO and Python's threads say of memory that the system refuses.
_NO_MEMORY = (
    "allocate memory|can't alloc|not enough memory|out of memory|bad_alloc|can't start new thread"
    "|failed to map segment"
)
_KEPT = "What is finished is kept; the same command continues."
_ANEW = "Nothing of it is kept; the same command starts anew."
_LONGEST_REASON = 300  # characters of another library's words
_ORDER = itertools.count()  # of commands in the help: as they are declared


def command_app(
    name: str, description: str | None = None, examples: Sequence[str] = (), **more: Any
) -> App:
    """Make a command, or a group of commands, with this project's form of help.

    Args:
        name: What a user types behind `timesen`, "dataset series".
        description: The help's first lines; by default the docstring of the function.
        examples: Command lines at the end of the help.
        more: Other arguments of `App`.
    """
    lines = ["Examples:", *(f"  {line}" for line in examples), ""] if examples else []
    return App(
        name=name.rpartition(" ")[2],
        help=None if description is None else inspect.cleandoc(description),
        help_format="plaintext",
        help_formatter=HelpFormat(),
        help_flags=["--help", "-h"],
        help_epilogue="\n".join(
            [*lines, f"Every command takes --help, and {_DEBUG} to show the traceback of an error."]
        ),
        version_flags=more.pop("version_flags", []),
        group_commands=more.pop("group_commands", Group("Commands")),
        sort_key=next(_ORDER),
        group_parameters=Group("Options"),
        suppress_keyboard_interrupt=False,
        **more,
    )


def argument(name: str, text: str, names: str | None = None) -> Parameter:
    """Make the note of a positional parameter: its name in the help, and what it is.

    `names` is the kind of what it names, whose shipped names a shell completes (`COMPLETERS`).
    """
    completer = COMPLETERS[names] if names else None
    return Parameter(name=name, metavar=name, help=text, completer=completer)


def named_option(metavar: str, text: str, names: str) -> Parameter:
    """Make the note of an option that names something, as `argument` does."""
    return Parameter(metavar=metavar, help=text, completer=COMPLETERS[names])


def run_app(app: App, arguments: Sequence[str], *, goes_on: bool = True) -> int:
    """Run a command and return its exit code; an error is printed as one paragraph.

    0: done; 1: a failure of the world, or cells that failed; 2: a mistake of the user; 130:
    interrupted. `goes_on` is whether the command, given again, continues where it was stopped.
    """
    try:
        code = app(
            [argument for argument in arguments if argument != _DEBUG],
            exit_on_error=False,
            print_error=False,
            console=Console(soft_wrap=True, highlight=False, markup=False),
            result_action="return_value",
        )
    except KeyboardInterrupt:
        code, text = INTERRUPTED, f"Stopped. {_KEPT if goes_on else _ANEW}"
    except BrokenPipeError:  # nobody reads the output any more
        sys.stdout = None
        return 1
    except CycloptsError as error:
        code, text = 2, f"Error: {_misused(error)}"
    except (TimesenError, OSError, ValueError, MemoryError, RuntimeError) as error:
        if _DEBUG in arguments:
            print(visible_lines(traceback.format_exc()), file=sys.stderr)
        if isinstance(error, MemoryError | RuntimeError) and not isinstance(error, TimesenError):
            error = _of_memory(error, goes_on=goes_on)
        if isinstance(error, ValueError) and not isinstance(error, TimesenError):
            error = _of_dask(error)
        code = 2 if isinstance(error, UserError) else 1
        text = f"Error: {error if isinstance(error, TimesenError) else _system_error(error)}"
    else:
        return code if isinstance(code, int) else 0
    print(visible_text(text), file=sys.stderr)
    return code


def _misused(error: CycloptsError) -> str:
    """What is wrong with the options of a command, and where they are listed."""
    command = " ".join(["timesen", *(error.command_chain or ())])
    problem = re.sub(r'^Command ".*?" parameter ', "", " ".join(str(error).split()))
    problem = problem.replace("requires an argument", "is missing")
    if found := re.search(r"Unknown option: --(\S+?)\.?( Did you mean --(\S+)\?)", problem):
        given, guess, meant = found.groups()
        if nearest_name(given.partition("=")[0], [meant]) is None:  # cyclopts guesses far
            problem = problem.replace(guess, "")
    stop = "" if problem[-1] in ".?" else "."
    return public_text(f"{command}: {problem}{stop} `{command} --help` lists what it takes.")


def _of_dask(error: ValueError) -> UserError:
    """The error of a file of Dask's settings, which Dask reads when it is imported.

    Raises the error itself where it is none of these.
    """
    if not (named := re.match(r"A dask config file at '(.+)' is malformed", str(error))):
        raise error
    problem = " ".join(str(error).partition("error message:")[2].split())
    return UserError(named[1], f"Dask's settings are malformed: {problem}", "Correct or remove it")


def _of_memory(error: MemoryError | RuntimeError, *, goes_on: bool) -> WorldError:
    """The error of memory that ran out; raises the error itself where it is another."""
    said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    if not isinstance(error, MemoryError) and not re.search(_NO_MEMORY, said):
        raise error
    return WorldError(
        f"There is too little memory ({said[:_LONGEST_REASON]}). "
        f"{'What is finished is kept; free' if goes_on else 'Free'} some memory, or raise the "
        "limit that was set to this command, and start again."
    )


def _system_error(error: OSError) -> str:
    """The path, what the system refused, and what to look at."""
    place = f"{error.filename}: " if error.filename else ""
    said = error.strerror or str(error) or type(error).__name__
    if type(error).__module__.startswith("rasterio"):  # which is imported by then
        from pipeline.raster.gdal_errors import gdal_words

        said = gdal_words(error)
    reason = " ".join(said.split()).rstrip(".")
    check = "Check that the path is right and can be reached and written"
    if error.errno in FULL_DISK:
        check = f"Free some space where the output is and in {tempfile.gettempdir()}"
    return public_text(f"{place}{reason}. {check}, then start again.")
