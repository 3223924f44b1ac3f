"""The columns of a file of points, and the years that a point may have."""

from dataclasses import dataclass

LABEL = "label_"
"""The beginning of the names of columns of labels."""
YEARS = (2015, 2100)
"""The first and last year that a point may have."""


@dataclass(frozen=True)
class PointColumns:
    """The names of a file's columns.

    Attributes:
        same_year: The year of all points, instead of the column `year`.
        labels: The columns of labels; None for all columns label_<name>.
        photo_key: A column that may be missing.
    """

    id: str = "id"
    year: str = "year"
    same_year: int | None = None
    labels: tuple[str, ...] | None = None
    photo_key: str = "photo_key"
