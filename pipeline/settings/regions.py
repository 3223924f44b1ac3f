"""Many maps from one TOML file: settings that all share, and a table for each region.

The shared settings are those of a run's file. A table [regions.NAME] has what differs: its region,
and any other setting, which then goes before the shared one. `years` in place of `year` makes a
map for each year. A file without tables whose `year` is `years` is one region, of its own name.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError
from pipeline.settings.load import anchored, laid_over, read_settings_file
from pipeline.settings.map import REMEDY, MapSettings, make_settings

_TABLES = "regions"
_NAME = re.compile(r"\w[\w.-]{0,99}")  # Prefect refuses others in the names of deployments
_EXAMPLE = 'Write a table for each region: [regions.ghent] and below it region = "ghent.gpkg"'
_YEARS = "Or write years = [2022, 2023] in place of year in the file of a run"
_OUT = "Write {name} in the shared out, and {year} where a region has several years"


@dataclass(frozen=True)
class RegionRun:
    """A run of a file of regions.

    Attributes:
        name: The region's name in the file; with its year where it has several, "ghent-2022".
        region: The region's name.
        settings: The run's settings.
        written: What the file says of them, with absolute paths; a year may be "last", and `out`
            may hold {year}.
    """

    name: str
    region: str
    settings: MapSettings
    written: Mapping[str, Any]


def load_regions(file: Path) -> tuple[RegionRun, ...]:
    """Load the runs of a file of regions, in the file's order.

    Raises:
        SettingsError: It names each region and setting that is wrong. So does a folder that two
            runs would write to.
    """
    raw = read_settings_file(file)
    tables = raw.pop(_TABLES, None)
    whole = tables is None and "years" in raw
    if whole:
        tables, raw = {re.sub(r"[^\w.-]+", "-", file.stem): raw}, {}
    if not isinstance(tables, Mapping) or not tables:
        raise SettingsError(str(file), "it has no region", f"{_EXAMPLE}. {_YEARS}")
    problems: defaultdict[str, list[str]] = defaultdict(list)  # by what is wrong, the runs
    runs = []
    for name, own in tables.items():
        try:
            _require_table(name, own)
            for run_name, written in _written_runs(name, raw, own, file.parent):
                settings = make_settings(dict(written), run_name)
                runs.append(RegionRun(run_name, name, settings, written))
        except SettingsError as error:
            problems[error.problem].append(name)
    if problems:
        told = "; ".join(problems) if whole else _told(problems, len(tables))
        raise SettingsError(str(file), told, REMEDY)
    _require_one_folder_each(file, runs)
    return tuple(runs)


def _require_table(name: str, own: Any) -> None:
    if not isinstance(own, Mapping):
        raise SettingsError(name, f"this is a section: write [{_TABLES}.{name}]", _EXAMPLE)
    if not _NAME.fullmatch(name):
        problem = 'a name has up to 100 letters, digits, "_", "-" and ".", and begins with a letter'
        raise SettingsError(name, problem, _EXAMPLE)


def _written_runs(
    name: str, shared: Mapping[str, Any], own: Mapping[str, Any], folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names and settings of a region's runs: one for each of its years."""
    if "year" in own and "years" in own:
        raise SettingsError(name, "year and years: give one of them", _EXAMPLE)
    shared = {key: value for key, value in shared.items() if key != "years" or "year" not in own}
    raw = laid_over(
        MapSettings, anchored(MapSettings, shared, folder), anchored(MapSettings, own, folder)
    )
    if isinstance(out := raw.get("out"), str):
        raw["out"] = out.replace("{name}", name)
    years = raw.pop("years", None)
    if years is None:
        yield name, raw
        return
    if not isinstance(years, list) or not years or len(set(map(str, years))) < len(years):
        raise SettingsError(name, "years: give a list of different years, [2022, 2023]", _EXAMPLE)
    if "year" in raw and "years" not in own:
        raise SettingsError(name, "year and years: give one of them", _EXAMPLE)
    for year in years:
        yield f"{name}-{year}", raw | {"year": year}


def _told(problems: Mapping[str, list[str]], regions: int) -> str:
    """What is wrong, each with its regions; without them where it is wrong in all of several."""
    return "; ".join(
        problem
        if len(names) == regions > 1
        else f"[{_TABLES}.{f'], [{_TABLES}.'.join(names)}] {problem}"
        for problem, names in problems.items()
    )


def _require_one_folder_each(file: Path, runs: list[RegionRun]) -> None:
    by_name: dict[str, RegionRun] = {}
    by_folder: dict[str, RegionRun] = {}
    for run in runs:
        out = run.settings.out
        folder = out.rstrip("/") if "://" in out else os.path.normpath(out)
        if run.name in by_name:
            raise SettingsError(
                str(file), f"two runs have the name {run.name}", "Name a region otherwise"
            )
        if folder in by_folder:
            both = f"{by_folder[folder].name} and {run.name}"
            raise SettingsError(str(file), f"{both} have the same folder, {out}", _OUT)
        by_name[run.name] = by_folder[folder] = run
