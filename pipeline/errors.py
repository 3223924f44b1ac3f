"""The errors of the pipeline; their base classes are in `models.errors`."""

from models.errors import UserError, WorldError


class RegionError(UserError):
    """A region that is empty, invalid, out of the world, or has nothing to map."""


class SettingsError(UserError):
    """Settings of a run that are unknown, contradict each other or are out of range."""


class CatalogError(UserError):
    """A catalogue that is unknown, or whose items lack a band or a field that is needed."""


class OutputError(UserError):
    """An output folder that cannot take this run."""


class OwnershipLost(OutputError):
    """The folder of a run that goes on was removed, or another run began in it."""


class ReadingError(WorldError):
    """A raster that a cell cannot do without: unreachable, or damaged in a strict run."""


class CatalogUnavailable(WorldError):
    """A catalogue that cannot be reached, refuses, or gives a part of its items only."""


class OutputUnwritable(WorldError):
    """Storage that refused a write: full, read-only or unreachable."""


class OutputUnreadable(WorldError):
    """A raster of a run that cannot be read: its storage does not answer, or it is damaged."""


class DatasetError(UserError):
    """A table of series or of ground views, or a training set, that is damaged or does not fit."""
