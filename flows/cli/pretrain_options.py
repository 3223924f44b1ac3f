"""The settings of a pretraining as a TOML file, as options of a command, or both."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import Command
from pipeline.errors import SettingsError

if TYPE_CHECKING:  # it takes torch, which takes seconds to import
    from flows.settings.pretrain import PretrainSettings


@dataclass(frozen=True)
class _Option:
    """An option: the setting that it sets (dotted), its type, what it says, and its default."""

    setting: str
    type: Any
    help: str
    default: Any = None
    metavar: str | None = None
    flag: str | None = None

    @property
    def name(self) -> str:
        return self.setting.replace(".", "_")

    @property
    def shown(self) -> str:
        if self.default is None or self.type is bool:
            return self.help
        given = ",".join(map(str, self.default)) if self.setting == _MONTHS else self.default
        return f"{self.help}{' ' if self.help else ''}Default: {given}."


_MONTHS, _VARIATIONS = "recipe.months", "recipe.variations"
OPTIONS: dict[str, tuple[_Option, ...]] = {
    "What": (
        _Option("out", str, "The checkpoint to write: a folder.", metavar="CHECKPOINT"),
        _Option("run", str, "The training's own folder, or s3://bucket/prefix: states, measures, "
                "curves. Default: CHECKPOINT.training", metavar="FOLDER"),
        _Option("start", str, "A checkpoint to train on from.", metavar="CHECKPOINT",
                flag="--from"),
        _Option("name", str, "The checkpoint's; default: its folder's."),
        _Option("description", str, "For people."),
        _Option("licence", str, "Of the weights.", "unstated"),
        _Option("demonstration", bool, "Not meant for real maps."),
        _Option("replace", bool, "Replace the checkpoint that is there."),
    ),
    "Encoder": (
        _Option("encoder.kind", str, "The architecture.", "timesenclip"),
        _Option("encoder.dim", int, "", 512),
        _Option("encoder.depth", int, "Layers.", 6),
        _Option("encoder.heads", int, "", 8),
        _Option("encoder.feedforward", int, "", 256),
        _Option("encoder.dropout", float, "", 0.1),
        _Option("normalise", str, "Reflectance by the authors' constants, or by the set's "
                "quantiles.", "authors", "authors|dataset"),
    ),
    "Recipe: ground side and loss": (
        _Option("recipe.views", str, "All of a point's views pooled, or one drawn each time.",
                "pooled", "pooled|drawn"),
        _Option("recipe.pooling", str, "", "mean", "mean|attention-view|attention-dimension"),
        _Option("recipe.loss", str, "", "memory-bank", "memory-bank|in-batch"),
        _Option("recipe.memory_bank", int, "Earlier ground embeddings that are negatives.", 2048),
        _Option("recipe.balanced_negatives", bool, "Let negatives of equal keys weigh as one."),
        _Option("recipe.temperature", float, "", 0.07),
        _Option("recipe.learned_temperature", bool, "Let the temperature be learned."),
    ),
    "Recipe: series": (
        _Option(_MONTHS, str, "Numbers of steps that are trained.", (12,), "12,4,1"),
        _Option(_VARIATIONS, list[str], "Another year of a series; may be said several times: "
                "reflectance, lost-months, shifted-calendar or another-year, with values behind a "
                "colon if they are to be others.", metavar="NAME[:share=0.6,…]",
                flag="--variation"),
        _Option("recipe.augmentation", str, "", "TSMixAug", "none|TSMixAug|RandomTS|TSMS"),
        _Option("recipe.augmentation_probability", float, "", 0.5),
    ),
    "Recipe: optimiser": (
        _Option("recipe.steps", int, "", 10_000),
        _Option("recipe.batch", int, "Points of a step, over all processes.", 512),
        _Option("recipe.rate", float, "The learning rate.", 1e-4),
        _Option("recipe.weight_decay", float, "", 0.01),
        _Option("recipe.schedule", str, "", "cosine", "cosine|constant"),
        _Option("recipe.cosine_steps", int, "Steps from the rate to 0. Default: all."),
        _Option("recipe.warm", float, "Share of the steps in which the rate rises.", 0.0),
        _Option("recipe.steepest", float, "The norm that gradients are limited to."),
        _Option("recipe.precision", str, "", "float32", "float32|bfloat16|float16"),
        _Option("recipe.seed", int, "", 0),
    ),
    "How to run": (
        _Option("processes", int, "Processes that train together, each on its worker.", 1),
        _Option("cluster.kind", str, "Where their workers are. Default: this machine.",
                metavar="local|tcp://…", flag="--cluster"),
        _Option("cluster.threads", int, "Threads of a process. Default: the cores, shared."),
        _Option("device", str, "", "auto", "auto|cpu|cuda"),
        _Option("save_every", int, "Steps from one saved state to the next.", 500),
        _Option("keep", int, "States that are kept.", 3),
        _Option("validate_every", int, "Steps from one validation to the next.", 500),
        _Option("patience", int, "Validations without a lower loss after which to stop; the "
                "checkpoint is that of the lowest."),
        _Option("restarts", int, "Times in a row that dead processes are started again without "
                "a state saved between.", 3),
        _Option("tracker", str, "Show measures there too, beside TensorBoard.", "none",
                "none|mlflow|wandb"),
    ),
}  # fmt: skip
_ALL = tuple(option for options in OPTIONS.values() for option in options)


def takes_pretrain_settings(command: Callable[["PretrainSettings"], int]) -> Command:
    """A command that takes a training set and a recipe's TOML file, or settings as options.

    Options go before what the file says.
    """

    @functools.wraps(command)
    def with_options(dataset: str | None, recipe: Path | None, **given: Any) -> int:
        from flows.settings.pretrain import make_pretrain_settings

        said = {option.setting: given[option.name] for option in _ALL} | {"dataset": dataset}
        return command(make_pretrain_settings(_nested(said), recipe))

    parameters = [
        _parameter("dataset", Annotated[
            str | None,
            typer.Argument(metavar="SET", help="The training set.", show_default=False),
        ]),
        _parameter("recipe", Annotated[
            Path | None,
            typer.Option("--recipe", metavar="FILE", help="Settings as TOML.", show_default=False),
        ]),
        *(
            _parameter(option.name, _annotation(option, panel))
            for panel, options in OPTIONS.items()
            for option in options
        ),
    ]  # fmt: skip
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    del with_options.__wrapped__
    return with_options


def _nested(said: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were given, by dotted name, as nested dictionaries."""
    settings: dict[str, Any] = {}
    for setting, value in said.items():
        if value is None or value == []:
            continue
        if setting == _MONTHS:
            value = _months(value)
        elif setting == _VARIATIONS:
            value = [_variation(text) for text in value]
        section, _, name = setting.rpartition(".")
        inner = settings.setdefault(section, {}) if section else settings
        inner[name] = value
        if setting == "cluster.kind":
            address = value if "://" in value else None
            inner |= {"kind": "address" if address else value, "address": address}
    return settings


def _months(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise SettingsError(f"--months {text}", "these are no numbers", "Write 12,4,1") from None


def _variation(text: str) -> dict[str, Any]:
    """Give `lost-months:share=0.6,probability=1` as a table of a recipe."""
    name, _, values = text.partition(":")
    try:
        pairs = [pair.split("=") for pair in values.split(",") if pair]
        return {"name": name} | {key: float(value) for key, value in pairs}
    except ValueError:
        raise SettingsError(
            f"--variation {text}",
            "what stands behind the colon are no values",
            "Write lost-months:share=0.6,probability=0.5",
        ) from None


def _annotation(option: _Option, panel: str) -> Any:
    flag = option.flag or "--" + option.setting.rpartition(".")[2].replace("_", "-")
    if option.type is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    declared = typer.Option(
        flag,
        help=option.shown,
        rich_help_panel=panel,
        metavar=option.metavar,
        show_default=False,
    )
    return Annotated[option.type | None, declared]


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)
