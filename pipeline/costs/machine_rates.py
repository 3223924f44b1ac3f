"""How fast a machine works, as `timesen bench machine` measures it and keeps it for plans."""

import datetime
import os
import re
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import WorldError
from models.files.durable_files import write_durably
from models.files.regular_file import read_regular
from models.option import user_path
from pipeline.errors import SettingsError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
_POSITIVE = Field(gt=0, le=1e9, allow_inf_nan=False)
_SECONDS = Field(ge=0, le=1e6, allow_inf_nan=False)


class MachineRates(BaseModel):
    """What each part of a run takes on a machine, in seconds of one of its cores.

    Attributes:
        machine: The machine's name.
        measured: The day; None of the figures that stand for any machine.
        catalog: The catalogue that was read.
        read: Of a pixel value that is decoded.
        composite: Of a pixel value that is masked and composited.
        window: Of a raster's window beside that: opening it, its request, its task.
        held: How long a core is held for a second that it works: more than 1 where other programs
            worked on the machine, too.
        waiting: How much longer it is held in reading, where it waits for the network.
        classify: Of a pixel, beside encoding.
        write: Of a pixel's rasters.
        cell: Of a cell beside all that: its tasks, its files.
        encode: Of a pixel's encoding on a core, by the checkpoint's fingerprint.
        gpu: The GPU's name, if the machine has one.
        gpu_encode: Seconds of the GPU for a pixel, by the checkpoint's fingerprint.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str = Field(pattern=rf"^{_NAME.pattern}$")
    measured: datetime.date | None = None
    catalog: str | None = None
    read: float = _POSITIVE
    composite: float = _POSITIVE
    window: float = _SECONDS
    held: float = Field(1.0, ge=1, le=1e4)
    waiting: float = Field(1.0, ge=1, le=1e4)
    classify: float = _SECONDS
    write: float = _SECONDS
    cell: float = _SECONDS
    encode: dict[str, float] = {}
    gpu: str | None = None
    gpu_encode: dict[str, float] = {}

    def __str__(self) -> str:
        if self.measured is None:
            return "typical rates; `timesen bench machine` measures those of a machine"
        read = self.catalog or "made-up rasters"
        return f"rates of {self.machine}, measured on {self.measured.isoformat()} with {read}"


# Of a core of a 2026 server with the catalogue in its network; orders of size, for plans of
# machines that were not measured. 24 dates × 11 rasters of 1024² took 3 s on 2 cores.
TYPICAL_MACHINE = MachineRates(
    machine="typical",
    read=4e-8,
    composite=2.5e-8,
    window=2e-3,
    waiting=1.5,
    classify=3e-6,
    write=1e-6,
    cell=0.4,
)
"""What is assumed of machines that were not measured."""


def this_machine() -> str:
    """The name by which this machine's rates are kept: its host name."""
    name = re.sub(r"[^\w.-]", "-", socket.gethostname(), flags=re.ASCII)[:100]
    return name if _NAME.fullmatch(name) else "this-machine"


def rates_folder() -> Path | None:
    """The folder of kept rates; None where the user has no home.

    It is in $XDG_STATE_HOME or ~/.local/state, timesen/machines
    (https://specifications.freedesktop.org/basedir-spec/latest/).
    """
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():
        base = user_path("~/.local/state")
    return base / "timesen" / "machines" if base.is_absolute() else None


def keep_rates(rates: MachineRates) -> Path:
    """Keep a machine's rates in place of earlier ones; gives the file. Raises WorldError."""
    folder = rates_folder()
    if folder is None:
        raise WorldError("The rates cannot be kept: this user has no home; set XDG_STATE_HOME")
    path = folder / f"{rates.machine}.json"
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(part, rates.model_dump_json(indent=1).encode() + b"\n")
        part.replace(path)
    except OSError as error:
        raise WorldError(f"The rates cannot be kept in {folder}: {error.strerror}") from None
    return path


def kept_machines() -> tuple[str, ...]:
    """The names of the machines whose rates are kept."""
    folder = rates_folder()
    if folder is None or not folder.is_dir():
        return ()
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def rates_of(machine: str) -> MachineRates | None:
    """The rates that are kept of a machine; None where there are none, or the file is damaged."""
    folder = rates_folder()
    if folder is None or not _NAME.fullmatch(machine):
        return None
    try:
        return MachineRates.model_validate_json(read_regular(folder / f"{machine}.json"))
    except (OSError, ValueError, ValidationError):
        return None


def chosen_rates(machine: str | None) -> MachineRates:
    """The rates of a machine by name; by default this machine's, or typical ones.

    Raises SettingsError where none are kept by that name.
    """
    if machine is None:
        return rates_of(this_machine()) or TYPICAL_MACHINE
    if (kept := rates_of(machine)) is None:
        others = kept_machines()
        raise SettingsError(
            f"machine = {machine}",
            "no rates are kept of it" + (f"; they are of {', '.join(others)}" if others else ""),
            "Measure them there: timesen bench machine",
        )
    return kept
