"""The rules for reading observations, from a user's settings and a checkpoint's card."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.observations.clear_mask import Masking, strict_keep
from pipeline.raster.access import Access
from pipeline.raster.stackstac_reader import ReaderSettings
from pipeline.settings.sections import ReadingSettings


@dataclass(frozen=True)
class Reading:
    """How the observations of cells or points are read and composited.

    Attributes:
        bands: The bands, in the checkpoint's order.
        masking: Which observations count as clear, and which of them are read.
        reader: How rasters are opened.
        geometric: Whether a month's composite is the geometric median, not each band's median.
        substitute: Pairs of an absent band and the band that stands for it.
        optional_bands: Those of `bands` without which a pixel's series is whole; they are 0 then.
    """

    bands: tuple[str, ...]
    masking: Masking
    reader: ReaderSettings
    geometric: bool = False
    substitute: tuple[tuple[str, str], ...] = ()
    optional_bands: tuple[str, ...] = ()

    @property
    def optional(self) -> frozenset[int]:
        """The numbers of the optional bands among `bands`."""
        return frozenset(self.bands.index(band) for band in self.optional_bands)


def reading_of(
    settings: ReadingSettings,
    bands: Sequence[str],
    trained_with: Sequence[int],
    access: Access,
    optional_bands: Sequence[str] = (),
) -> Reading:
    """Make a `Reading` from a user's settings.

    Args:
        settings: The settings.
        bands: The bands of the checkpoint, in its order.
        trained_with: The scene classes that count as clear by the checkpoint's card.
        access: How the catalogue's rasters are opened.
        optional_bands: The bands that a series may lack.
    """
    return Reading(
        bands=tuple(bands),
        masking=Masking(
            keep=kept_scenes(settings, trained_with),
            dilate=settings.dilate,
            most=settings.most_a_month or None,
            least=settings.least_clear / 100,
        ),
        reader=ReaderSettings(
            strict=settings.strict, access=access, trust_offsets=settings.trust_offsets
        ),
        geometric=settings.geometric,
        substitute=tuple(sorted(settings.substitute.items())),
        optional_bands=tuple(optional_bands),
    )


def kept_scenes(settings: ReadingSettings, trained_with: Sequence[int]) -> tuple[int, ...]:
    """The scene classes that count as clear: the user's, else the card's without the doubtful."""
    return settings.keep_scl or strict_keep(trained_with)
