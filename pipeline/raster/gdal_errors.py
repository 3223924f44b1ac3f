"""The errors of GDAL when it opens a file of a run: with the file's name, and its own words."""

import contextlib
from collections.abc import Iterator

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from models.visible_text import visible_text
from pipeline.errors import OutputUnreadable
from pipeline.io.redaction import without_secrets
from pipeline.io.store import public_text

_POINTS_TO_CAUSE = "previous exception"  # rasterio's "Read failed. See previous exception …"
_LONGEST = 300  # characters of GDAL's words


@contextlib.contextmanager
def gdal_errors_of(place: str) -> Iterator[None]:
    """Name a file or folder in the errors of GDAL; `place` is public, without secrets.

    Raises:
        OutputUnreadable: In place of an error of rasterio or GDAL.
    """
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise OutputUnreadable(
            f"{place} cannot be read: {gdal_words(error)}. Start again; if it stays so, look at "
            "what lies there, or map it again."
        ) from error


def gdal_words(error: BaseException) -> str:
    """Why GDAL failed, in its own words: of an error and its causes, the first that say it."""
    said: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RasterioError | CPLE_BaseError):
            text = " ".join(str(cause).split()).rstrip(".")
            if text and _POINTS_TO_CAUSE not in text and text not in said:
                said.append(text)
        cause = cause.__cause__ or cause.__context__
    words = visible_text(without_secrets(public_text("; ".join(said))))[:_LONGEST]
    return words or "GDAL says no reason"
