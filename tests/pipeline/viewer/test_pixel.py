"""A clicked pixel is what the rasters say of it."""

import numpy as np

from pipeline.product.layers import CLASS, CLEAR_OBSERVATIONS, CONFIDENCE
from pipeline.viewer.pixel_facts import pixel_facts
from pipeline.viewer.viewed_run import ViewedRun
from tests.pipeline.made_run import classes_at
from tests.pipeline.viewer.conftest import band_values, place_of


def test_facts_are_those_of_the_rasters(made: ViewedRun) -> None:
    cell = made.cells[0]
    classes = band_values(made, cell, CLASS)[0]
    row, column = (int(axis[len(axis) // 2]) for axis in np.nonzero(classes))
    found = pixel_facts(made, *place_of(cell, row, column))
    assert found is not None
    assert (found.cell, found.row, found.column) == (cell.id, row, column)
    value = int(classes[row, column])
    names = {entry.value: entry.name for entry in made.vocabulary.legend}
    assert (found.value, found.name) == (value, names[value])
    assert found.confidence == band_values(made, cell, CONFIDENCE)[0, row, column]
    assert [one["value"] for one in found.top] == [value, value % 5 + 1]
    assert found.top[1]["percent"] == found.confidence // 2
    assert found.note == ""
    clear = band_values(made, cell, CLEAR_OBSERVATIONS)
    assert found.clear == clear[:, row // 2, column // 2].tolist()


def test_there_is_a_class_all_along_the_border_of_zones_and_none_outside(made: ViewedRun) -> None:
    for lat in np.linspace(49.755, 49.785, 60):
        for lon in (5.99999, 6.0, 6.00001):
            found = pixel_facts(made, lon, lat)
            assert found is not None, (lon, lat)
            near = {classes_at(np.array(lon + d), np.array(lat + e)).item()
                    for d in (-2e-4, 0, 2e-4) for e in (-2e-4, 0, 2e-4)}  # fmt: skip
            assert found.value in near
    assert pixel_facts(made, 7.0, 49.77) is None
