"""Items of cells in a run's folder that others have changed: such a cell is not finished."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.layout import ITEM, cell_key
from pipeline.product.committed_cells import finished_cells, finished_items
from tests.pipeline.made_run import MadeRun, make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    region = "5.3000,49.7500,5.3010,49.7508"
    return make_run(str(tmp_path_factory.mktemp("made") / "run"), region, 64)


def _of_properties(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda item: item["properties"].update(
        {name.replace("__", ":"): value for name, value in changes.items()}
    )


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "an id that leads out of the folder": lambda item: item.update(id="../../elsewhere"),
    "the id of another cell": lambda item: item.update(id=item["id"][:-2] + "99"),
    "another tile": _of_properties(timesen__tile="31UFS"),
    "a CRS of another tile": _of_properties(proj__code="EPSG:32755"),
    "no CRS": _of_properties(proj__code=5),
    "an absurd shape": _of_properties(proj__shape=[10**9, 10**9]),
    "a shape in words": _of_properties(proj__shape=["many", "more"]),
    "a turned grid": _of_properties(proj__transform=[10, 3, 600000, 0, -10, 5600000]),
    "a grid elsewhere": _of_properties(proj__transform=[10, 0, 0, 0, -10, 0]),
    "other bounds": _of_properties(proj__bbox=[0, 0, 1, 1]),
    "no bbox": lambda item: item.update(bbox=None),
    "a bbox without numbers": lambda item: item.update(bbox=[float("nan")] * 4),
    "a raster in another folder": lambda item: item["assets"]["class"].update(href="../class.tif"),
    "an unknown raster": lambda item: item["assets"].update(new=item["assets"]["class"]),
    "counts that are none": _of_properties(timesen__pixels={"1": [5]}),
    "a negative count": _of_properties(timesen__nodata=-1),
    "seconds in words": _of_properties(timesen__seconds={"read": "long"}),
    "faults that are none": _of_properties(timesen__faults=[{"asset": [], "band": 1, "reason": 2}]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_item_is_no_finished_cell(made: MadeRun, change: str) -> None:
    cell = made.cells[0]
    place = Path(made.store.path(cell_key(cell.tile.name, cell.id, ITEM)))
    sound = place.read_bytes()
    assert len(finished_cells(made.store, made.run.fingerprint)) == len(made.cells)
    item = copy.deepcopy(json.loads(sound))
    CHANGES[change](item)
    try:
        place.write_text(json.dumps(item))
        found = finished_items(made.store, made.run.fingerprint)
        assert cell.id not in {each["id"] for each in found}
        assert len(found) == len(made.cells) - 1
    finally:
        place.write_bytes(sound)
