"""What a user says of a series table that is to be made.

What a user says of a table of ground photos that is to be made.
"""

from typing import Annotated, Any

from pydantic import Field

from models.encoder.preprocessing import AUTHORS, BANDS
from models.option import RelativePath
from pipeline.clusters.settings import ClusterSettings
from pipeline.observations.reading import Reading, kept_scenes, reading_of
from pipeline.point_series.points import YEARS, PointColumns
from pipeline.raster.access import Access
from pipeline.settings.load import Settings, load_settings
from pipeline.settings.sections import (
    Address,
    CatalogSettings,
    ReadingSettings,
    Strict,
)


class _TableSettings(Strict):
    """What every series table needs: a folder, and where the work runs."""

    out: Address
    reading: ReadingSettings = ReadingSettings()
    cluster: ClusterSettings = ClusterSettings()

    @property
    def keep(self) -> tuple[int, ...]:
        """The scene classes that count as clear; by default those of a map by TimeSenCLIP."""
        return kept_scenes(self.reading, AUTHORS.scl_keep)


class SeriesSettings(_TableSettings):
    """Series of the points of a file, read from a catalogue.

    `year` is that of all points, where no column says it. `labels` are columns of labels, by
    default all called label_<name>; `classes` lists what a column of labels may hold. The section
    `reading` and `first_month` are those of a mapping run.
    """

    points: Annotated[str, RelativePath()]
    id_column: str = "id"
    year_column: str = "year"
    year: int | None = Field(None, ge=YEARS[0], le=YEARS[1])
    labels: tuple[str, ...] | None = None
    photo_column: str = "photo_key"
    classes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    first_month: int = Field(1, ge=1, le=12)
    catalog: CatalogSettings = CatalogSettings()

    @property
    def columns(self) -> PointColumns:
        """Which columns of the file say what."""
        return PointColumns(
            self.id_column, self.year_column, self.year, self.labels, self.photo_column
        )

    def point_reading(self, access: Access) -> Reading:
        """How points are read; `access` is that of the catalogue's description."""
        return reading_of(self.reading, BANDS, AUTHORS.scl_keep, access)


class Sen4MapSettings(_TableSettings):
    """Series of Sen4Map's HDF5 files.

    Of `reading`, only the scene classes that are kept apply, and only to patches: all of their
    observations are read, and months are medians.
    """

    files: tuple[Annotated[str, RelativePath()], ...] = Field(min_length=1)


def checked(model: type[Settings], raw: dict[str, Any]) -> Settings:
    """Validated settings of `timesen dataset`; raises SettingsError that names what is wrong."""
    return load_settings(model, raw, remedy="`timesen dataset --help` lists the options")


class PhotoSettings(Strict):
    """Photos in the folder or s3:// prefix `photos`, embedded by an image tower into `out`.

    `table` says which photo belongs to which point; without, their names do, as LUCAS's. `revision`
    pins the tower's weights. `attribution` is the notice that the photos' terms ask for.
    `part_size` photos are embedded at once by a worker, and kept together.
    """

    photos: Address
    out: Address
    tower: str
    revision: str | None = None
    table: Annotated[str | None, RelativePath()] = None
    attribution: str = ""
    part_size: int = Field(256, ge=1)
    cluster: ClusterSettings = ClusterSettings()
