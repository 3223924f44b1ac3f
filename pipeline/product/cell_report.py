"""A cell's result before it is written, its report afterwards, and the area of classes."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from pyproj import CRS, Proj, Transformer

from pipeline.io.store import public_text
from pipeline.product.class_counts import ClassConfidence, runners_up, tally
from pipeline.product.layers import (
    CLASS,
    CLEAR_OBSERVATIONS,
    CONFIDENCE,
    NODATA_CLASS,
    NODATA_CONFIDENCE,
    TOP_CLASSES,
    UNLIKE_TRAINING,
)
from pipeline.raster.read_stats import Fault, ReadStats

PREFIX = "timesen:"
_OUTSIDE, _LACKING = "outside_mask", "without_mask"


@dataclass(frozen=True)
class MaskedCounts:
    """Pixels of a cell that are nodata because of a mask: another run's classes.

    Attributes:
        outside: Pixels of other classes of that run.
        lacking: Pixels of which that run says nothing.
    """

    outside: int
    lacking: int


_T = TypeVar("_T")


@dataclass(frozen=True)
class CellReport:
    """A finished cell in numbers.

    Attributes:
        cell: The cell's id.
        pixels: Pixels of 10 m by class value.
        nodata: Pixels without a class: never observed clear, or not of the cell.
        mean_confidence: In percent; None if no pixel has a class.
        acquisitions: Overpasses that show any part of the cell.
        observations: Those of them that were clear enough to be read.
        coverage: Percent of the cell that was observed clear, by month; a map of changes has none.
        stats: The facts of reading, and the time by stage.
        invalid_embeddings: Pixels that are nodata because their embedding is not a number.
        unlike_training: Pixels over 100 % in the raster of that name; None where it is not mapped.
        other_land: Pixels that are nearer to land that none of the map's words stands for, by class
            value and name of the land; None where that was not counted.
        confidence: By class value; None where early versions did not count it.
        runners_up: Pixels by class value and the value of the second rank, of each class the most
            frequent ones; None where the cell has no second rank.
        masked: Pixels that a mask leaves out; None without a mask.
    """

    cell: str
    pixels: Mapping[int, int]
    nodata: int
    mean_confidence: float | None
    acquisitions: int
    observations: int
    coverage: tuple[float, ...]
    stats: ReadStats
    invalid_embeddings: int = 0
    unlike_training: int | None = None
    other_land: Mapping[int, Mapping[str, int]] | None = None
    confidence: Mapping[int, ClassConfidence] | None = None
    runners_up: Mapping[int, Mapping[int, int]] | None = None
    masked: MaskedCounts | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; those of `stats` lie beside the others."""
        counted = ("unlike_training", "other_land", "confidence", "runners_up")
        values = {
            name: value
            for name, value in vars(self).items()
            if name not in ("stats", "masked") and not (name in counted and value is None)
        }
        values |= {"pixels": _by_text(self.pixels), "coverage": list(self.coverage)}
        if self.masked is not None:
            values |= {_OUTSIDE: self.masked.outside, _LACKING: self.masked.lacking}
        if self.other_land is not None:
            values["other_land"] = _by_text(
                {value: dict(sorted(names.items())) for value, names in self.other_land.items()}
            )
        if self.confidence is not None:
            values["confidence"] = _by_text({v: asdict(one) for v, one in self.confidence.items()})
        if self.runners_up is not None:
            values["runners_up"] = _by_text({v: _by_text(n) for v, n in self.runners_up.items()})
        return values | self.stats.to_dict()

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "CellReport":
        """The report of `to_dict`'s values."""
        plain = ("cell", "nodata", "mean_confidence", "acquisitions", "observations")
        return cls(
            **{name: raw[name] for name in plain},
            pixels={int(value): count for value, count in raw["pixels"].items()},
            coverage=tuple(raw["coverage"]),
            stats=ReadStats.from_dict(raw),
            invalid_embeddings=raw.get("invalid_embeddings", 0),
            unlike_training=raw.get("unlike_training"),
            other_land=_by_value(raw.get("other_land"), dict),
            confidence=_by_value(raw.get("confidence"), lambda one: ClassConfidence(**one)),
            runners_up=_by_value(raw.get("runners_up"), _counts),
            masked=MaskedCounts(raw[_OUTSIDE], raw[_LACKING]) if _OUTSIDE in raw else None,
        )

    def to_properties(self) -> dict[str, Any]:
        """The properties of a STAC item that hold the report."""
        return {f"{PREFIX}{key}": value for key, value in self.to_dict().items()}

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> "CellReport":
        """The report that a cell's STAC item holds."""
        properties = item["properties"].items()
        ours = {k.removeprefix(PREFIX): v for k, v in properties if k.startswith(PREFIX)}
        return cls.from_dict(ours)


@dataclass(frozen=True)
class CellResult:
    """Everything that is computed of a cell, before it is written.

    Attributes:
        rasters: (band, y, x) or (y, x) by the name of the layer (`pipeline.product.layers`), for
            all layers that the run writes as COGs.
        acquisitions: Acquisitions that show anything of the cell.
        observations: Those of them that were clear enough to be read.
        stats: The facts of reading, and the time by stage so far.
        invalid_embeddings: Pixels whose embedding is not a number; they are nodata.
        embeddings: STAC assets of the files of embeddings, which are written already.
        other_land: Pixels of other land than the map's words, by class value and name of the land;
            None where that was not counted.
        masked: Pixels that a mask leaves out; None without a mask.
    """

    rasters: Mapping[str, np.ndarray]
    acquisitions: int
    observations: int
    stats: ReadStats
    invalid_embeddings: int = 0
    embeddings: Sequence[Mapping[str, Any]] = ()
    other_land: Counter[tuple[int, str]] | None = None
    masked: MaskedCounts | None = None

    @property
    def coverage(self) -> tuple[float, ...]:
        """Percent of the cell that was observed clear, by month; empty where that is not mapped."""
        counts = self.rasters.get(CLEAR_OBSERVATIONS.name, ())
        seen = [np.count_nonzero(month) / max(month.size, 1) for month in counts]
        return tuple(round(100 * share, 2) for share in seen)

    def report(self, cell: str) -> CellReport:
        """The report of the cell, given its id; faults without secrets."""
        classes, confidence = self.rasters[CLASS.name], self.rasters[CONFIDENCE.name]
        counts = tally(classes, confidence, NODATA_CLASS, NODATA_CONFIDENCE)
        ranks = self.rasters.get(TOP_CLASSES.name)
        faults = tuple(
            Fault(public_text(fault.asset), fault.band, public_text(fault.reason))
            for fault in self.stats.faults
        )
        return CellReport(
            cell=cell,
            pixels=counts.pixels,
            nodata=counts.nodata,
            mean_confidence=counts.mean_confidence,
            acquisitions=self.acquisitions,
            observations=self.observations,
            coverage=self.coverage,
            stats=replace(self.stats, faults=faults),
            invalid_embeddings=self.invalid_embeddings,
            unlike_training=self._unlike_training(),
            other_land=self._other_land(counts.pixels),
            confidence=counts.confidence,
            runners_up=None if ranks is None else runners_up(ranks[0], ranks[1], NODATA_CLASS),
            masked=self.masked,
        )

    def _unlike_training(self) -> int | None:
        percent = self.rasters.get(UNLIKE_TRAINING.name)
        if percent is None:
            return None
        return int(np.count_nonzero((percent > 100) & (percent != UNLIKE_TRAINING.nodata)))

    def _other_land(self, pixels: Mapping[int, int]) -> Mapping[int, Mapping[str, int]] | None:
        if self.other_land is None:
            return None
        found: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for (value, name), count in self.other_land.items():
            if value in pixels:  # not nodata
                found[value][name] = count
        return found


def _by_text(values: Mapping[int, Any]) -> dict[str, Any]:
    return {str(value): one for value, one in sorted(values.items())}


def _counts(raw: Mapping[str, int]) -> dict[int, int]:
    return {int(value): count for value, count in raw.items()}


def _by_value(raw: Mapping[str, Any] | None, read: Callable[[Any], _T]) -> dict[int, _T] | None:
    return None if raw is None else {int(value): read(one) for value, one in raw.items()}


HECTARES_PER_PIXEL = 0.01
"""Of a pixel of 10 m × 10 m in the projection."""


def class_hectares(items: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Area on the ellipsoid by class value, from the items of finished cells.

    Pixels are counted in each cell's own CRS. UTM shows areas up to 0.08 % too small near a
    zone's middle and too large at its edges; each cell's pixel is divided by the projection's
    area scale at the cell's centre, which holds for the whole cell within 0.01 % or so.
    """
    hectares: dict[int, float] = {}
    for item in items:
        properties = item["properties"]
        left, bottom, right, top = properties["proj:bbox"]
        centre = ((left + right) / 2, (bottom + top) / 2)
        pixel = HECTARES_PER_PIXEL / float(area_scale(properties["proj:code"], *centre))
        for value, count in CellReport.from_item(item).pixels.items():
            hectares[value] = hectares.get(value, 0.0) + count * pixel
    return dict(sorted(hectares.items()))


def area_scale(crs: str, x: Any, y: Any) -> Any:
    """Projected area over true area at places of a projected CRS such as "EPSG:32631".

    `x` and `y` are numbers or arrays, and so is the result: float64 of their shape.
    """
    to_degrees, projection = _projection(crs)
    lon, lat = to_degrees.transform(x, y)
    return projection.get_factors(lon, lat).areal_scale


@lru_cache(maxsize=128)
def _projection(code: str) -> tuple[Transformer, Proj]:
    crs = CRS.from_user_input(code)
    return Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True), Proj(crs)
