"""The settings of a run as options of a command, and errors as its exit codes."""

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from models.errors import TimesenError, UserError
from pipeline.errors import SettingsError
from pipeline.io.store import public_text
from pipeline.settings.load import load_settings
from pipeline.settings.map import REMEDY, MapSettings, SearchSettings, description

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C stopped."""

Command = Callable[..., int]


@dataclass(frozen=True)
class _Option:
    """An option: the setting that it sets (dotted), its type, and how the help shows it."""

    setting: str
    type: Any
    panel: str
    metavar: str | None = None

    @property
    def flag(self) -> str:
        name = {"catalog.url": "catalog", "cluster.kind": "cluster"}.get(self.setting, self.setting)
        return "--" + name.rpartition(".")[2].replace("_", "-")


_WHAT, _FROM, _HOW = "What to map", "Where from", "How to run"
_OPTIONS = (
    _Option("region", str, _WHAT),
    _Option("year", str, _WHAT, "YEAR"),
    _Option("first_month", int, _WHAT, "1…12"),
    _Option("vocabulary", str, _WHAT),
    _Option("classes", str, _WHAT, "WORDS"),
    _Option("level", str, _WHAT, "class|parent"),
    _Option("checkpoint", str, _WHAT),
    _Option("out", str, _WHAT),
    _Option("catalog.url", str, _FROM),
    _Option("catalog.collection", str, _FROM, "ID"),
    _Option("catalog.max_cloud_cover", float, _FROM, "PERCENT"),
    _Option("embeddings", str, _FROM, "RUN"),
    _Option("reading.keep_scl", str, _FROM, "4,5,6,…"),
    _Option("reading.dilate", float, _FROM, "METRES"),
    _Option("reading.most_a_month", int, _FROM),
    _Option("reading.least_clear", float, _FROM, "PERCENT"),
    _Option("reading.composite", str, _FROM, "median|geometric-median"),
    _Option("reading.substitute", list[str], _FROM, "B8A=B08"),
    _Option("reading.strict", bool, _FROM),
    _Option("top_k", int, _HOW, "1…8"),
    _Option("steps", int, _HOW, "12|4|1"),
    _Option("allow_untrained_steps", bool, _HOW),
    _Option("cell_size", int, _HOW),
    _Option("batch_size", int, _HOW),
    _Option("keep_embeddings", bool, _HOW),
    _Option("cluster.kind", str, _HOW, "threads|local|tcp://…"),
    _Option("cluster.workers", int, _HOW),
    _Option("cluster.threads", int, _HOW),
    _Option("cluster.memory_limit", str, _HOW, "3GB"),
    _Option("cluster.cells_in_flight", int, _HOW),
)


def takes_settings(command: Callable[[MapSettings], int]) -> Command:
    """A command that takes a run's TOML file, or its settings as options, or both.

    Options go before what the file says.
    """
    return _taking(command, _OPTIONS, MapSettings)


def takes_search_settings(command: Callable[..., int]) -> Command:
    """A command that takes what of a catalogue is asked for, from a run's TOML file or as options.

    Its other parameters stay its own.
    """
    asked = [o for o in _OPTIONS if o.setting.partition(".")[0] in SearchSettings.model_fields]
    return _taking(command, asked, SearchSettings)


def takes_options(*wanted: str) -> Callable[[Callable[..., int]], Command]:
    """A command that takes some settings of a run as options: whole sections, or one by one.

    Its first parameter is given what the user gave, a nested dictionary; its others stay its own.
    """
    options = [o for o in _OPTIONS if {o.setting, o.setting.partition(".")[0]} & {*wanted}]

    def taking(command: Callable[..., int]) -> Command:
        @functools.wraps(command)
        def with_options(**given: Any) -> int:
            return command(_overrides({o.setting: given.pop(_name(o)) for o in options}), **given)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [_parameter(_name(option), _annotation(option)) for option in options]
        return _with_signature(with_options, [*own, *parameters])

    return taking


def _taking(
    command: Callable[..., int],
    options: Sequence[_Option],
    model: type[SearchSettings],
) -> Command:
    @functools.wraps(command)
    def with_options(recipe: Path | None, **given: Any) -> int:
        overrides = _overrides({o.setting: given.pop(_name(o)) for o in options})
        # A file is a whole run's, of which a search takes its part.
        whole = load_settings(model if recipe is None else MapSettings, overrides, recipe, REMEDY)
        if type(whole) is not model:
            whole = model.model_validate(whole.model_dump(include=set(model.model_fields)))
        return command(whole, **given)

    argument = typer.Argument(metavar="RUN.toml", help="The run's settings.", show_default=False)
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    return _with_signature(
        with_options,
        [
            _parameter("recipe", Annotated[Path | None, argument]),
            *(_parameter(_name(option), _annotation(option)) for option in options),
            *own,
        ],
    )


def explained(command: Command) -> Command:
    """A command whose errors are told in a paragraph, and give its exit code.

    1: a failure of the world, or cells that failed; 2: a mistake in what was given; 130:
    interrupted. Adds the option --debug, which shows tracebacks.
    """

    @functools.wraps(command)
    def answering(debug: bool, **given: Any) -> None:
        try:
            code = command(**given)
        except KeyboardInterrupt:
            _say("Stopped. What was finished is kept; the same command goes on from there.")
            code = INTERRUPTED
        except TimesenError as error:
            if debug:
                traceback.print_exc()
            _say(f"Error: {error}")
            code = 2 if isinstance(error, UserError) else 1
        except BrokenPipeError:
            raise  # nobody reads what is said; typer ends quietly
        except OSError as error:
            if debug:
                traceback.print_exc()
            _say(f"Error: {_of_the_system(error)}")
            code = 1
        raise typer.Exit(code)

    option = typer.Option("--debug", help="Show the traceback of an error.")
    return _with_signature(
        answering,
        [
            *inspect.signature(command, eval_str=True).parameters.values(),
            _parameter("debug", Annotated[bool, option], default=False),
        ],
    )


def _of_the_system(error: OSError) -> str:
    """What the system refused and why, in a sentence, and what to look at."""
    place = f"{error.filename}: " if error.filename else ""
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    return public_text(
        f"{place}{reason}. Check that the path is right and can be reached and written, then "
        "start again."
    )


def _overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings of the options that were given; paths from where one stands."""
    settings: dict[str, Any] = {}
    for setting, value in given.items():
        if value is None:
            continue
        section, _, name = setting.rpartition(".")
        (settings.setdefault(section, {}) if section else settings)[name] = _READ.get(
            setting, lambda text: text
        )(value)
    cluster = settings.get("cluster", {})
    if "://" in cluster.get("kind", ""):
        cluster |= {"kind": "address", "address": cluster["kind"]}
    elif "kind" in cluster:
        cluster["address"] = None
    return settings


def _scl(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise SettingsError(
            f"--keep-scl {text}", "these are no numbers of scene classes", "Write 4,5,6"
        ) from None


def _substitutes(texts: list[str]) -> dict[str, str]:
    pairs = [text.split("=") for text in texts]
    if any(len(pair) != 2 for pair in pairs) or len({pair[0] for pair in pairs}) < len(pairs):
        raise SettingsError(
            f"--substitute {' '.join(texts)}",
            "this does not say which band stands for which",
            "Write B8A=B08: B8A is absent, B08 stands for it",
        )
    return dict(pairs)


_READ: dict[str, Callable[[Any], Any]] = {
    "reading.keep_scl": _scl,
    "reading.substitute": _substitutes,
}


def _name(option: _Option) -> str:
    return option.setting.replace(".", "_")


def _annotation(option: _Option) -> Any:
    flag = f"{option.flag}/--no-{option.flag[2:]}" if option.type is bool else option.flag
    declared = typer.Option(
        flag,
        help=description(option.setting),
        rich_help_panel=option.panel,
        metavar=option.metavar,
        show_default=False,
    )
    return Annotated[option.type | None, declared]


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _with_signature(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> Command:
    """The function with these parameters in place of its own, as the command line sees it."""
    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    function.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    del function.__wrapped__  # type: ignore[attr-defined]
    return function


def _say(text: str) -> None:
    print(text, file=sys.stderr)
