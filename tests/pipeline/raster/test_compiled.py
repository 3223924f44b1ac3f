"""Functions compiled for stated types."""

import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numba import int64

from pipeline.raster.compiled import array_type, compiled_for

_PROGRAM = """
import sys
import numpy as np
from pipeline.raster.cog_reader import _summed
from pipeline.raster.harmonised import harmonised

for name in sys.argv[1:]:
    whole = np.ones((4, 8), name)
    _summed(whole, 0, whole)
    assert whole[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    harmonised(whole[:, ::2], 0)
    harmonised(whole, 0)
"""


def _numbers(folder: Path) -> dict[str, dict[tuple[object, ...], str]]:
    """Numba's index of each function: the file of each key."""
    found = {}
    for path in folder.rglob("*.nbi"):
        with path.open("rb") as file:
            pickle.load(file)  # numba's version
            _stamp, files = pickle.loads(file.read())
        found[path.name] = files
    return found


def test_all_processes_number_alike(tmp_path: Path) -> None:
    """Whatever comes first, so that two at once write the same files."""
    kept = []
    for order in (["uint8", "uint16"], ["uint16"], ["uint16", "uint8"]):
        folder = tmp_path / "-".join(order)
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
        subprocess.run([sys.executable, "-c", _PROGRAM, *order], check=True, env=environment)
        kept.append(_numbers(folder))
    assert kept[0] == kept[1] == kept[2]
    assert {name.split("-")[0]: len(files) for name, files in kept[0].items()} == {
        "cog_reader._summed": 2,
        "harmonised._harmonise": 2,
    }


@compiled_for((array_type(np.uint16, "C"), int64, array_type(np.uint16, "A", changed=True)))
def _added(values: np.ndarray, number: int, out: np.ndarray) -> None:
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            out[y, x] = values[y, x] + number


def test_threads_may_call_first_at_once() -> None:
    outs = [np.zeros((3, 8), np.uint16)[:, ::2] for _ in range(8)]
    values = np.arange(12, dtype=np.uint16).reshape(3, 4)
    values.flags.writeable = False
    threads = [threading.Thread(target=_added, args=(values, 2, out)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((out == values + 2).all() for out in outs)


def test_other_types_are_an_error() -> None:
    with pytest.raises(TypeError):
        _added(np.zeros((3, 4), np.float32), 2, np.zeros((3, 4), np.uint16))
