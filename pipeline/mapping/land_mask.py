"""The land that a run maps: where the map of another run shows certain classes.

Cells of both runs lie on the grids of their tiles, and a place belongs to the same tile in every
run. So the other map's pixels are used as they are, whatever the cell sizes are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rasterio.windows import Window

from models.near_names import did_you_mean
from models.vocabulary.labels import UNMATCHED, Level, match_labels
from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError, SettingsError
from pipeline.grid.cells import Cell
from pipeline.io.store import Store, public_url
from pipeline.layout import cell_key
from pipeline.mapping.plan_geojson import read_cells
from pipeline.product.committed_cells import finished_ids
from pipeline.product.layers import CLASS, NODATA_CLASS
from pipeline.product.ledger import read_run
from pipeline.product.manifest import RunManifest, run_vocabulary
from pipeline.product.read_layer import opened_raster

_REMEDY = "Write RUN=CLASS,…, such as runs/cover=cropland"


@dataclass(frozen=True, eq=False)
class MaskedPixels:
    """What a mask says of a cell's pixels.

    Attributes:
        inside: The pixels that may be mapped: bool (y, x).
        lacking: The pixels of which the mask says nothing: nodata there, or no cell: bool (y, x).
    """

    inside: np.ndarray
    lacking: np.ndarray


@dataclass(frozen=True)
class LandMask:
    """Classes of another run's map.

    Attributes:
        store: That run's folder.
        fingerprint: That run.
        values: The class values that are mapped, ascending.
        cells: That run's cells, by tile.
    """

    store: Store
    fingerprint: str
    values: tuple[int, ...]
    cells: Mapping[str, Sequence[Cell]]

    @property
    def identity(self) -> str:
        """What pixels depend on: the other run, and the classes."""
        return f"{self.fingerprint} {','.join(map(str, self.values))}"

    def of_cell(self, cell: Cell) -> "LandMask":
        """The mask with those cells alone that share pixels with a cell, for a worker."""
        near = [other for other in self.cells.get(cell.tile.name, ()) if _common(cell, other)]
        return replace(self, cells={cell.tile.name: near})

    def require_some(self, cells: Iterable[Cell]) -> None:
        """Raise OutputError where the mask's run has mapped nothing of any of the cells."""
        if not any(self.of_cell(cell).cells[cell.tile.name] for cell in cells):
            raise OutputError(
                f"mask {public_url(self.store.root)}",
                "this run has mapped none of the region",
                "Name a run of the same land",
            )

    def pixels(self, cell: Cell) -> MaskedPixels:
        """The mask of a cell's pixels.

        Raises:
            OutputError: A raster is of another run by now.
            OutputUnreadable: A raster cannot be read.
        """
        inside, lacking = np.zeros(cell.shape, bool), np.ones(cell.shape, bool)
        for other in self.cells.get(cell.tile.name, ()):
            if (common := _common(cell, other)) is None:
                continue
            top, left, bottom, right = common
            window = Window(
                left - other.column_offset, top - other.row_offset, right - left, bottom - top
            )
            classes = self._classes(other, window)
            rows = slice(top - cell.row_offset, bottom - cell.row_offset)
            columns = slice(left - cell.column_offset, right - cell.column_offset)
            inside[rows, columns] |= np.isin(classes, self.values)
            lacking[rows, columns] &= classes == NODATA_CLASS
        return MaskedPixels(inside, lacking)

    def _classes(self, cell: Cell, window: Window) -> np.ndarray:
        key = cell_key(cell.tile.name, cell.id, CLASS.file)
        with opened_raster(self.store, key) as raster:
            tags, shape = raster.tags(), raster.shape
            classes: np.ndarray = raster.read(1, window=window)
        if tags.get("TIMESEN_FINGERPRINT") != self.fingerprint or shape != cell.shape:
            raise OutputError(
                public_url(self.store.path(key)),
                "it is no more of the run that this run's mask was taken from",
                "Put that run back, or map into another folder",
            )
        return classes


def read_land_mask(mask: str) -> LandMask:
    """The mask that a setting names, "RUN=CLASS,…".

    Args:
        mask: The setting. A class is a name, a code or a parent of that run's vocabulary.

    Raises:
        SettingsError: It is not of that form, or that run has no such class.
        OutputError: There is no run, or it is not finished.
    """
    store, run, values = _run_and_values(mask)
    own = read_cells(store, run)
    if left := len({cell.id for cell in own} - finished_ids(store, run.fingerprint)):
        raise OutputError(
            f"mask {public_url(store.root)}",
            f"{left} of this run's {len(own)} cells are not finished",
            "Finish that run first, by the same command",
        )
    by_tile: dict[str, list[Cell]] = {}
    for cell in own:
        by_tile.setdefault(cell.tile.name, []).append(cell)
    return LandMask(store, run.fingerprint, values, by_tile)


def require_classes(mask: str) -> None:
    """Raise as `read_land_mask`, but do not ask whether the run is finished, which takes longer."""
    _run_and_values(mask)


def _run_and_values(mask: str) -> tuple[Store, RunManifest, tuple[int, ...]]:
    folder, names = split_mask(mask)
    store = Store(folder)
    run = read_run(store)
    return store, run, _values(names, run_vocabulary(store, run), public_url(store.root))


def split_mask(mask: str) -> tuple[str, str]:
    """The folder and the classes of "RUN=CLASS,…"; raises SettingsError where it has another form.

    A folder may have "=" in its name, classes may not.
    """
    folder, equals, names = (part.strip() for part in mask.rpartition("="))
    if not (folder and equals and names.strip(", ")):
        raise SettingsError(f"mask {public_url(mask)}", "it names no run or no class", _REMEDY)
    return folder, names


def _values(names: str, vocabulary: Vocabulary, place: str) -> tuple[int, ...]:
    """The values on a map of classes with commas between them; a name may have commas, too."""
    shown = {entry.name.strip().casefold(): entry.value for entry in vocabulary.legend}
    if (whole := shown.get(names.casefold())) is not None:
        return (whole,)
    values: set[int] = set()
    for name in (part.strip() for part in names.split(",")):
        if not name:
            continue
        found = _of_class(name, vocabulary)
        if not found:
            known = [entry.name for entry in vocabulary.legend]
            raise SettingsError(
                f"mask {place}",
                f"that run has no class {name!r}{did_you_mean(name, known)}",
                f"Its classes are {', '.join(known)}",
            )
        values |= found
    return tuple(sorted(values))


def _of_class(name: str, vocabulary: Vocabulary) -> set[int]:
    """The values of a class, or of all classes of a parent; empty where there is none."""
    for entry in vocabulary.legend:
        if entry.name.strip().casefold() == name.casefold():
            return {entry.value}
    if vocabulary.level == "class":
        place = _place(name, vocabulary, "class")
        if place != UNMATCHED:
            return {vocabulary.classes[place].value}
    if not vocabulary.parents:
        return set()
    place = _place(name, vocabulary, "parent")
    if place == UNMATCHED:
        return set()
    if vocabulary.level == "parent":
        return {vocabulary.parents[place].value}
    members = np.flatnonzero(vocabulary.parent_index == place)
    return {vocabulary.classes[k].value for k in members.tolist()}


def _place(name: str, vocabulary: Vocabulary, level: Level) -> int:
    """The place of a class or parent; a finer code is none, since its class is more land."""
    matched = match_labels([name], vocabulary, level)
    return UNMATCHED if matched.finer else int(matched.index[0])


def _common(one: Cell, other: Cell) -> tuple[int, int, int, int] | None:
    """Top, left, bottom, right of the pixels of two cells of a tile, on its grid; None for none."""
    top, left = max(one.row_offset, other.row_offset), max(one.column_offset, other.column_offset)
    bottom = min(one.row_offset + one.height, other.row_offset + other.height)
    right = min(one.column_offset + one.width, other.column_offset + other.width)
    return (top, left, bottom, right) if top < bottom and left < right else None
