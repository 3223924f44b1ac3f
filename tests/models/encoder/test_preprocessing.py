import dataclasses
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.encoder.preprocessing import AUTHORS, BANDS, Preprocessing
from models.errors import CheckpointError


def test_normalise_agrees_with_the_formula_value_by_value() -> None:
    series = np.random.default_rng(1).integers(0, 12_000, (4, 12, 10), dtype=np.uint16)
    got = AUTHORS.normalise(series)
    assert got.dtype == torch.float32
    for pixel, month, band in np.ndindex(series.shape):
        value = (float(series[pixel, month, band]) + 1 - AUTHORS.low[band]) / AUTHORS.high[band]
        assert abs(float(got[pixel, month, band]) - min(max(value, 0.0), 1.0)) < 1e-6


@given(st.integers(0, 65535))
def test_normalised_values_stay_in_the_unit_interval(value: int) -> None:
    got = AUTHORS.normalise(np.full((1, 12, 10), value, np.uint16))
    assert 0 <= float(got.min()) <= float(got.max()) <= 1


def test_normalise_leaves_its_input_alone_and_takes_any_layout() -> None:
    series = np.random.default_rng(2).integers(0, 12_000, (5, 12, 10), dtype=np.uint16)
    kept = series.copy()
    read_only = series.view()
    read_only.flags.writeable = False
    strided = np.asfortranarray(series)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = AUTHORS.normalise(read_only)
        assert torch.equal(first, AUTHORS.normalise(strided))
        assert torch.equal(first, AUTHORS.normalise(torch.from_numpy(series)))
    np.testing.assert_array_equal(series, kept)
    floats = torch.full((1, 12, 10), 500.0)
    AUTHORS.normalise(floats)
    assert bool((floats == 500.0).all())


def test_an_absent_band_is_0_for_the_encoder() -> None:
    series = np.random.default_rng(3).integers(1, 3000, (4, 12, 10), dtype=np.uint16)
    series[:, :, 7] = 0
    absent = dataclasses.replace(AUTHORS, optional_bands=("B8A",))
    assert torch.equal(absent.normalise(series), AUTHORS.normalise(series))
    assert bool((absent.normalise(series)[:, :, 7] == 0).all())
    # Constants by which a 0 would not be clipped to 0.
    lifting = dataclasses.replace(absent, low=(-500.0,) * 10)
    for values in (series, torch.from_numpy(series.astype(np.float32))):
        made = lifting.normalise(values)
        assert bool((made[:, :, 7] == 0).all())
        required = dataclasses.replace(lifting, optional_bands=()).normalise(values)
        assert bool((required[:, :, 7] > 0).all())
        others = [*range(7), 8, 9]
        assert torch.equal(made[..., others], required[..., others])


def test_normalise_refuses_another_number_of_bands() -> None:
    with pytest.raises(CheckpointError, match=r"a series of 9 bands.*takes 10"):
        AUTHORS.normalise(np.zeros((1, 12, 9), np.uint16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ("B01", *BANDS[1:])}, "unknown band B01"),
        ({"bands": ("B03", *BANDS[1:])}, "each once"),
        ({"bands": (), "low": (), "high": ()}, "one or more"),
        ({"low": AUTHORS.low[:9]}, "low holds 9 values for 10 bands"),
        ({"high": (*AUTHORS.high, 1.0)}, "high holds 11 values for 10 bands"),
        ({"low": (float("nan"), *AUTHORS.low[1:])}, "finite"),
        ({"high": (0.0, *AUTHORS.high[1:])}, "above 0"),
        ({"gap_fill": "linear"}, "annual-median"),
        ({"scl_keep": ()}, "scl_keep"),
        ({"scl_keep": (0, 4)}, "scl_keep"),
        ({"scl_keep": (12,)}, "scl_keep"),
        ({"months": 7}, "months is 7"),
        ({"months": 4}, "months is 4"),
        ({"months": 1}, "months is 1"),
        ({"optional_bands": ("B01",)}, "must name bands of it, each once"),
        ({"optional_bands": ("B8A", "B8A")}, "must name bands of it, each once"),
        ({"optional_bands": BANDS}, "optional_bands names all bands"),
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        dataclasses.replace(AUTHORS, **change)


def test_authors_keep_scene_classes_below_9_and_add_one() -> None:
    assert AUTHORS.scl_keep == (1, 2, 3, 4, 5, 6, 7, 8)
    assert AUTHORS.add == 1.0
    assert isinstance(AUTHORS, Preprocessing)


def test_band_names_come_without_torch() -> None:
    code = "import sys, models.encoder.preprocessing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
