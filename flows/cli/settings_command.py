"""A command made of a settings model and a function.

The model is the only source of the command's options: their names, types, defaults and
descriptions are those of its fields. The command line's texts go to the model as they are, and
pydantic alone reads them, as it reads the values of a TOML file.
"""

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from cyclopts import App, Group, Parameter, Token
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.cli.app import command_app
from flows.cli.input_checks import require_cluster, require_inputs
from flows.cli.shipped_names import COMPLETERS
from models.errors import UserError
from models.option import Names, Option, RelativePath
from pipeline.settings.load import load_settings, note_of, read_settings_file, section_of

_ARGUMENTS = "Arguments"
_POSITIONAL, _KEYWORD = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.KEYWORD_ONLY


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


def settings_command(
    name: str, *models: type[BaseModel], file: str = "--settings", examples: Sequence[str] = ()
) -> Callable[[Callable[[Any], int]], App]:
    """Make a command of a function that takes settings and returns an exit code.

    The function's docstring is the description in the help.

    Args:
        name: What a user types behind `timesen`, "dataset series".
        models: The settings. Of several, the first is used that has all options of a command line
            and all settings of its file.
        file: How a TOML file of settings is given: a flag, or the name of an argument.
        examples: Command lines at the end of the help.
    """
    by_model = [{setting.flag: setting for setting in settings_of(model)} for model in models]
    settings: dict[str, Setting] = {}
    for of_model in by_model:
        settings |= {flag: setting for flag, setting in of_model.items() if flag not in settings}

    def to_app(function: Callable[[Any], int]) -> App:
        def command(*positional: Any, **named: Any) -> int:
            texts = signature.bind(*positional, **named).arguments
            values = {flag: texts.get(setting.key) for flag, setting in settings.items()}
            values = {flag: value for flag, value in values.items() if value not in (None, [])}
            _require_values(name, values)
            path = Path(texts["file"]) if "file" in texts else None
            number = _fitting(name, by_model, values, path)
            options = _nested({by_model[number][flag].place: v for flag, v in values.items()})
            remedy = f"`timesen {name} --help` lists the settings"
            loaded = load_settings(models[number], options, path, remedy)
            require_inputs(loaded)
            if name != "plan":  # which needs no cluster
                require_cluster(loaded)
            return function(loaded)

        groups = dict.fromkeys([_ARGUMENTS, *(setting.group for setting in settings.values())])
        order = {group: Group(group, sort_key=number) for number, group in enumerate(groups)}
        needed = {f for f, s in by_model[0].items() if s.field.is_required()}
        needed = needed.intersection(*by_model[1:])
        parameters = [_parameter(s, order[s.group], f in needed) for f, s in settings.items()]
        parameters.append(_file_parameter(file, order[_ARGUMENTS]))
        parameters.sort(key=lambda parameter: parameter.kind)
        signature = inspect.Signature(parameters)
        command.__signature__ = signature  # type: ignore[attr-defined]
        arguments = [setting.flag for setting in settings.values() if setting.option.positional]
        arguments += [f"[{file}]"] if file[0] != "-" else []
        return command_app(
            name,
            function.__doc__ or "",
            examples,
            default_command=command,
            usage=f"Usage: timesen {' '.join([name, *arguments])} [OPTIONS]",
            group_arguments=order[_ARGUMENTS],
        )

    return to_app


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
        elif option.positional:
            yield Setting((*place, name), field, option, _ARGUMENTS)
        else:
            in_file = f" [{'.'.join(place)}]" if place else ""
            yield Setting(
                (*place, name), field, option, (option.group or _title(model, name)) + in_file
            )


def _title(model: type[BaseModel], name: str) -> str:
    """The title of the model that declares a field: the heading of its options."""
    declares = [m for m in model.__mro__ if name in getattr(m, "__annotations__", {})][-1]
    return getattr(declares, "model_config", {}).get("title") or "Settings"


def _require_values(name: str, values: Mapping[str, Any]) -> None:
    """Refuse the name of an option where a value belongs, since values may begin with a hyphen."""
    for flag, value in values.items():
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str) and text.startswith("--"):
                raise UserError(
                    f"timesen {name} {flag}", "it has no value", f"Write a value before {text}"
                )


def _fitting(
    name: str,
    by_model: Sequence[Mapping[str, Setting]],
    values: Mapping[str, Any],
    file: Path | None,
) -> int:
    """The number of the first model that has all these options, and the settings of the file.

    Raises UserError where none has all options. Settings of the file that none has are left to the
    validation.
    """
    fitting = [n for n, settings in enumerate(by_model) if values.keys() <= settings.keys()]
    if not fitting:
        wrong = next(flag for flag in values if flag not in by_model[0])
        raise UserError(
            f"timesen {name} {wrong}",
            "this option does not go with the others",
            f"`timesen {name} --help` says which options go together",
        )
    if file is None or len(fitting) == 1:
        return fitting[0]
    in_file = read_settings_file(file).keys()
    places = [{setting.place[0] for setting in by_model[n].values()} for n in fitting]
    return next((n for n, own in zip(fitting, places, strict=True) if in_file <= own), fitting[0])


def _nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Settings by their places as nested sections."""
    result: dict[str, Any] = {}
    for (*sections, name), value in values.items():
        inner = result
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return result


def _parameter(setting: Setting, group: Group, is_needed: bool) -> inspect.Parameter:
    kind, positional = _cli_type(setting.field.annotation), setting.option.positional
    # A shell completes the files of what is declared as a path; the model gets its text as it is.
    is_path = kind is str and note_of(setting.field, RelativePath) is not None
    completed = Path if is_path else kind
    declared = Parameter(
        name=setting.flag,
        help=_help(setting.field) + (" [required]" if is_needed else ""),
        metavar=setting.option.metavar or _metavar(setting.field),
        group=group,
        show_default=False,
        negative=f"--no-{setting.flag[2:]}" if kind is bool else (),
        allow_leading_hyphen=kind is not bool and not positional,
        allow_repeating=True,
        completer=_completer(setting.field),
        converter=None if completed is kind else _as_written,
    )
    return inspect.Parameter(
        setting.key,
        _POSITIONAL if positional else _KEYWORD,
        default=None,
        annotation=Annotated[completed | None, declared],
    )


def _completer(field: FieldInfo) -> Callable[[Any], Sequence[str]] | None:
    """Gives the values that a shell offers: those that are allowed, or the shipped names."""
    plain, names = _plain(field.annotation), note_of(field, Names)
    if get_origin(plain) is Literal:
        return lambda _: [str(value) for value in get_args(plain)]
    return COMPLETERS.get(names.kind) if names else None


def _as_written(_: Any, tokens: Sequence[Token]) -> str:
    """The text of an option, as it goes to the model; of one that is repeated, the last."""
    return tokens[-1].value


def _file_parameter(file: str, group: Group) -> inspect.Parameter:
    is_flag = file[0] == "-"
    declared = Parameter(
        name=file,
        metavar="FILE.toml" if is_flag else file,
        help="A TOML file of settings (those of a [section] below it); options go before it.",
        group=group,
        show_default=False,
        converter=_as_written,
    )
    kind = _KEYWORD if is_flag else _POSITIONAL
    annotation = Annotated[Path | None, declared]
    return inspect.Parameter("file", kind, default=None, annotation=annotation)


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
    lowest = next((note.ge for note in field.metadata if isinstance(note, Ge)), None)
    highest = next((note.le for note in field.metadata if isinstance(note, Le)), None)
    if lowest is not None and highest is not None:
        return f"{lowest}…{highest}"
    return {int: "N", float: "NUMBER"}.get(plain, "TEXT")
