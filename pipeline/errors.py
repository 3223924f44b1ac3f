"""Errors between a region and its files; the base classes are those of `models.errors`."""

from models.errors import UserError, WorldError


class RegionError(UserError):
    """A region that is empty, invalid, out of the world, or has nothing to map."""


class SettingsError(UserError):
    """Settings of a run that are unknown, contradict each other or are out of range."""


class CatalogError(UserError):
    """A catalogue that is unknown or whose items lack what is asked for."""


class OutputError(UserError):
    """An output folder that cannot take this run."""


class ReadingError(WorldError):
    """A raster without which a cell cannot be made: unreachable, or damaged in a strict run."""


class CatalogUnavailable(WorldError):
    """A catalogue that does not answer."""


class OutputUnwritable(WorldError):
    """Storage that refused a write: full, read-only or unreachable."""


class DatasetError(UserError):
    """A table of series or of ground views, or a training set, that is damaged or does not fit."""
