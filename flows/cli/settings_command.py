"""A command made of a settings model and a function, and the exit codes of all commands.

The model is the only source of the command's options: their names, types, defaults and
descriptions are those of its fields. The command line's texts go to the model as they are, and
pydantic alone reads them, as it reads the values of a TOML file.
"""

import inspect
import itertools
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from cyclopts import App, CycloptsError, Group, Parameter
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console

from flows.cli.help_format import HelpFormat
from models.errors import TimesenError, UserError
from models.option import Option
from pipeline.io.store import public_text
from pipeline.settings.load import load_settings, note_of, section_of

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C stopped."""

_ARGUMENTS = "Arguments"
_DEBUG = "--debug"
_ORDER = itertools.count()  # of commands in the help: as they are declared
_POSITIONAL = inspect.Parameter.POSITIONAL_ONLY
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


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
    lines.append(
        f"Every command takes --help, and {_DEBUG}, which shows the traceback of an error."
    )
    return App(
        name=name.rpartition(" ")[2],
        help=None if description is None else inspect.cleandoc(description),
        help_format="plaintext",
        help_epilogue="\n".join(lines),
        help_formatter=HelpFormat(),
        help_flags=["--help", "-h"],
        version_flags=[],
        sort_key=next(_ORDER),
        group_parameters=Group("Options"),
        suppress_keyboard_interrupt=False,
        **more,
    )


def argument(name: str, text: str) -> Parameter:
    """Make the note of a positional parameter: its name in the help, and what it is."""
    return Parameter(name=name, metavar=name, help=text)


def settings_command(
    name: str,
    model: type[BaseModel],
    *others: type[BaseModel],
    file: str = "--settings",
    examples: Sequence[str] = (),
) -> Callable[[Callable[[Any], int]], App]:
    """Make a command of a function that takes settings and returns an exit code.

    Its docstring is the description in the help.

    Args:
        name: What a user types behind `timesen`, "dataset series".
        model: The settings.
        others: Settings of other kinds that the command takes as well: the first model that has
            all options of a command line is used.
        file: How a TOML file of settings is given: a flag, or the name of an argument.
        examples: Command lines at the end of the help.
    """
    models: tuple[type[BaseModel], ...] = (model, *others)

    def to_app(function: Callable[[Any], int]) -> App:
        by_model = [{s.flag: s for s in settings_of(each)} for each in models]
        settings: dict[str, Setting] = {}
        for of_one in by_model:
            settings |= {flag: s for flag, s in of_one.items() if flag not in settings}

        def command(*positional: Any, **named: Any) -> int:
            texts = signature.bind(*positional, **named).arguments
            path = texts.get("file")
            values = {flag: texts.get(s.key) for flag, s in settings.items()}
            values = {flag: value for flag, value in values.items() if value not in (None, [])}
            _require_values(name, values)
            pairs = list(zip(models, by_model, strict=True))
            fitting = (pair for pair in pairs if values.keys() <= pair[1].keys())
            chosen, known = next(fitting, pairs[0])
            if wrong := [flag for flag in values if flag not in known]:
                raise UserError(
                    f"timesen {name} {wrong[0]}",
                    "this option does not go with the others",
                    f"`timesen {name} --help` says which options go together",
                )
            options = _nested({known[flag].place: value for flag, value in values.items()})
            remedy = f"`timesen {name} --help` lists the settings"
            return function(load_settings(chosen, options, Path(path) if path else None, remedy))

        groups = dict.fromkeys([_ARGUMENTS, *(s.group for s in settings.values())])
        order = {group: Group(group, sort_key=number) for number, group in enumerate(groups)}
        needed = [
            f for f in settings if all(f in of and of[f].field.is_required() for of in by_model)
        ]
        parameters = [_parameter(s, order[s.group], f in needed) for f, s in settings.items()]
        parameters.append(_file_parameter(file, order[_ARGUMENTS]))
        parameters.sort(key=lambda parameter: parameter.kind)
        signature = inspect.Signature(parameters)
        command.__signature__ = signature  # type: ignore[attr-defined]
        arguments = [s.flag for s in settings.values() if s.option.positional]
        arguments += [f"[{file}]"] if file[0] != "-" else []
        usage = f"Usage: timesen {' '.join([name, *arguments])} [OPTIONS]"
        return command_app(
            name,
            function.__doc__ or "",
            examples,
            default_command=command,
            usage=usage,
            group_arguments=order[_ARGUMENTS],
        )

    return to_app


@dataclass(frozen=True)
class Setting:
    """A setting that a command takes: its place in the model, its field, and its option."""

    place: tuple[str, ...]
    field: FieldInfo
    option: Option
    group: str

    @property
    def flag(self) -> str:
        """The option's name, "--dilate"; of an argument, the word for it in the help."""
        if self.option.positional:
            return self.option.metavar or self.place[-1].upper()
        return self.option.flag or "--" + self.place[-1].replace("_", "-")

    @property
    def key(self) -> str:
        """The name of the command's parameter."""
        return "_" + "".join(c if c.isalnum() else "_" for c in self.flag.lower())


def settings_of(
    model: type[BaseModel], place: tuple[str, ...] = (), only: Sequence[str] | None = None
) -> Iterator[Setting]:
    """Yield the settings of a model and of its sections that have options."""
    for name, field in model.model_fields.items():
        option = note_of(field, Option) or Option()
        if option.hidden or (only is not None and name not in only):
            continue
        if section := section_of(field):
            yield from settings_of(section, (*place, name), option.only)
        else:
            group = _ARGUMENTS if option.positional else option.group or _title(model, name)
            if place and not option.positional:
                group += f" [{'.'.join(place)}]"
            yield Setting((*place, name), field, option, group)


def run_app(app: App, arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; an error is printed as one paragraph.

    0: done; 1: a failure of the world, or cells that failed; 2: a mistake of the user; 130:
    interrupted.
    """
    debug = _DEBUG in arguments
    try:
        code = app(
            [argument for argument in arguments if argument != _DEBUG],
            exit_on_error=False,
            print_error=False,
            console=Console(soft_wrap=True, highlight=False, markup=False),
            result_action="return_value",
        )
    except KeyboardInterrupt:
        return _failed(
            "Stopped. What is finished is kept; the same command continues from there.", INTERRUPTED
        )
    except BrokenPipeError:  # nobody reads the output any more
        sys.stdout = None
        return 1
    except CycloptsError as error:
        command = " ".join(["timesen", *(error.command_chain or ())])
        problem = re.sub(r'^Command ".*?" parameter ', "", " ".join(str(error).split()))
        problem = problem.replace("requires an argument", "is missing")
        problem += "" if problem[-1] in ".?" else "."
        return _failed(f"Error: {command}: {problem} `{command} --help` lists what it takes.", 2)
    except (TimesenError, OSError) as error:
        if debug:
            traceback.print_exc()
        text = str(error) if isinstance(error, TimesenError) else _system_error(error)
        return _failed(f"Error: {text}", 2 if isinstance(error, UserError) else 1)
    return code if isinstance(code, int) else 0


def _failed(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code


def _system_error(error: OSError) -> str:
    """The path, what the system refused, and what to look at."""
    place = f"{error.filename}: " if error.filename else ""
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    return public_text(
        f"{place}{reason}. Check that the path is right and can be reached and written, then "
        "start again."
    )


def _require_values(name: str, values: Mapping[str, Any]) -> None:
    """Refuse the name of an option where a value belongs, since values may begin with a hyphen."""
    for flag, value in values.items():
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str) and text.startswith("--"):
                raise UserError(
                    f"timesen {name} {flag}", "it has no value", f"Write a value before {text}"
                )


def _nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Settings by their places as nested sections."""
    result: dict[str, Any] = {}
    for (*sections, name), value in values.items():
        inner = result
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return result


def _title(model: type[BaseModel], name: str) -> str:
    """The title of the model that declares a field: the heading of its options."""
    declares = [m for m in model.__mro__ if name in getattr(m, "__annotations__", {})][-1]
    return getattr(declares, "model_config", {}).get("title") or "Settings"


def _needs(settings: Mapping[str, Setting], flag: str) -> bool:
    return flag in settings and settings[flag].field.is_required()


def _parameter(setting: Setting, group: Group, is_needed: bool) -> inspect.Parameter:
    kind = _cli_type(setting.field.annotation)
    positional = setting.option.positional
    declared = Parameter(
        name=setting.flag,
        help=_help(setting.field) + (" [required]" if is_needed else ""),
        metavar=setting.option.metavar or _metavar(setting.field),
        group=group,
        show_default=False,
        negative=f"--no-{setting.flag[2:]}" if kind is bool else (),
        allow_leading_hyphen=kind is not bool and not positional,
        allow_repeating=True,
    )
    return inspect.Parameter(
        setting.key,
        _POSITIONAL if positional else _KEYWORD,
        default=None,
        annotation=Annotated[kind | None, declared],
    )


def _file_parameter(file: str, group: Group) -> inspect.Parameter:
    declared = Parameter(
        name=file,
        metavar="FILE.toml" if file[0] == "-" else file,
        help="A TOML file of settings (those of a [section] below it); options go before it.",
        group=group,
        show_default=False,
    )
    kind = _KEYWORD if file[0] == "-" else _POSITIONAL
    return inspect.Parameter("file", kind, default=None, annotation=Annotated[str | None, declared])


def _help(field: FieldInfo) -> str:
    """A field's description as a sentence, and its default."""
    text = field.description or ""
    text = f"{text[:1].upper()}{text[1:]}."
    default = field.get_default(call_default_factory=True)
    if field.is_required() or default in (None, (), {}, "") or isinstance(default, bool):
        return text
    parts = default if isinstance(default, tuple) else [default]
    shown = ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)
    return f"{text} [default:\u00a0{shown}]"


def _plain(annotation: Any) -> Any:
    """The type without notes and without None."""
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _cli_type(annotation: Any) -> Any:
    """How many texts a setting takes: a flag, so many, any number, or one."""
    plain = _plain(annotation)
    parts = get_args(plain)
    if plain is bool:
        return bool
    if get_origin(plain) is tuple and Ellipsis not in parts:
        return tuple[(str,) * len(parts)]  # type: ignore[misc]
    return list[str] if get_origin(plain) in (tuple, list, dict) else str


def _metavar(field: FieldInfo) -> str:
    """The form of a value: the allowed ones, the limits of a number, or a word for it."""
    plain = _plain(field.annotation)
    if get_origin(plain) is Literal:
        return "|".join(map(str, get_args(plain)))
    limits = [
        next((getattr(n, side) for n in field.metadata if isinstance(n, limit)), None)
        for limit, side in ((Ge, "ge"), (Le, "le"))
    ]
    if None not in limits:
        return "{}…{}".format(*limits)
    return {int: "N", float: "NUMBER"}.get(plain, "TEXT")
