"""The whole flow over real Sentinel-2: one square kilometre in Belgium."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from flows.cli.main import run
from flows.cli.map import run_map
from models.encoder.checkpoint import load_checkpoint
from models.encoder.preprocessing import BANDS
from models.towers.text_embeddings import embed_vocabulary
from models.towers.text_tower import load_text_tower
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.errors import CatalogError
from pipeline.real_land.belgium import (
    EPSG,
    NO_OBSERVATION,
    patch_bbox,
    patch_transform,
    read_cropland,
    read_patch,
    write_belgian_archive,
)
from pipeline.settings.map import MapSettings, make_settings
from tests.benchmarks.belgium import map_patch
from tests.pipeline.cell_runs import random_checkpoint


@pytest.fixture(scope="module")
def archive(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_belgian_archive(shared_data, tmp_path_factory.mktemp("belgium"))


def belgian_settings(shared: Path, archive: Path, out: Path, **changes: Any) -> MapSettings:
    bbox = ",".join(str(degrees) for degrees in patch_bbox(read_patch(shared)))
    return make_settings(
        {
            "region": bbox,
            "year": 2020,
            "first_month": 11,
            "vocabulary": "cropland",
            "checkpoint": "sample",
            "catalog": {"url": str(archive)},
            "reading": {"substitute": {"B8A": "B08"}},
            "out": str(out),
        }
        | changes
    )


def test_an_absent_band_is_a_clear_error(shared_data: Path, archive: Path, tmp_path: Path) -> None:
    settings = belgian_settings(shared_data, archive, tmp_path / "run", reading={})
    with pytest.raises(CatalogError, match=r"band B8A: .*substitute = \{ B8A = \"B08\" \}"):
        run_map(settings)
    assert not (tmp_path / "run").exists()


def test_the_map_is_complete_and_pixel_for_pixel(
    shared_data: Path, archive: Path, tmp_path: Path
) -> None:
    settings = belgian_settings(shared_data, archive, tmp_path / "run")
    assert run_map(settings) == 0
    patch = read_patch(shared_data)
    with rasterio.open(tmp_path / "run" / "class.vrt") as raster:
        assert raster.crs.to_epsg() == EPSG
        left, top = patch_transform(patch).c, patch_transform(patch).f
        column = (left - raster.transform.c) / 10
        row = (raster.transform.f - top) / 10
        assert row.is_integer()
        assert column.is_integer()
        rows, columns = patch.sizes["y"], patch.sizes["x"]
        whole = raster.read(1)
    window = slice(int(row), int(row) + rows), slice(int(column), int(column) + columns)
    mapped = whole[window]

    # The series by hand: the twelve months in calendar order, absent ones filled by the median.
    checkpoint = load_checkpoint("sample")
    bands = checkpoint.card.preprocessing.bands
    layers = {band: f"S2-L2A-{'B08' if band == 'B8A' else band}" for band in bands}
    series = np.stack([patch[layers[band]].values for band in bands], axis=-1).astype(float)
    missing = (series == NO_OBSERVATION).any(axis=-1)
    series[missing] = np.nan
    series[series == 0] = np.nan  # Sentinel-2's nodata; one value of the patch is 0
    filled = np.where(np.isnan(series), np.rint(np.nanmedian(series, axis=0)), series)
    by_calendar = filled[np.argsort(patch["t.month"].values)]
    pixels = by_calendar.reshape(12, -1, len(bands)).transpose(1, 0, 2).astype(np.uint16)
    vocabulary = load_vocabulary("cropland")
    text = embed_vocabulary(vocabulary, load_text_tower(checkpoint.card.text_tower))
    with torch.inference_mode():
        embeddings = checkpoint.encoder(checkpoint.card.preprocessing.normalise(pixels))
    cosine = torch.from_numpy(text.cosines(embeddings.numpy()))
    values = np.array([entry.value for entry in vocabulary.classes])
    expected = values[cosine.argmax(dim=1).numpy()].reshape(rows, columns)
    margin = (cosine[:, 0] - cosine[:, 1]).abs().reshape(rows, columns).numpy()

    seen = ~missing.all(axis=0)
    assert np.array_equal(mapped > 0, seen)
    sure = seen & (margin > 1e-5)  # else float32's rounding may decide
    assert sure.mean() > 0.95
    assert np.array_equal(mapped[sure], expected[sure])
    outside = whole.copy()
    outside[window] = 0
    assert not outside.any(), "nothing is mapped where there is no observation"

    (item,) = (tmp_path / "run").glob("cells/*/*/item.json")
    properties = json.loads(item.read_text())["properties"]
    assert "B08" in json.dumps(properties)
    assert "B8A" in json.dumps(properties)


@pytest.mark.parametrize("composite", ["median", "geometric-median"])
def test_a_checkpoint_that_does_without_a_band_maps_an_archive_without_it(
    shared_data: Path, archive: Path, tmp_path: Path, composite: str
) -> None:
    random_checkpoint(tmp_path / "random", optional_bands=("B8A", "B05"))
    settings = belgian_settings(
        shared_data,
        archive,
        tmp_path / "run",
        checkpoint=str(tmp_path / "random"),
        reading={"composite": composite},
        keep_embeddings=True,
    )
    assert run_map(settings) == 0
    patch = read_patch(shared_data)
    bands = [band for band in BANDS if band != "B8A"]
    seen = np.any(
        np.all([patch[f"S2-L2A-{band}"].values != NO_OBSERVATION for band in bands], axis=0), axis=0
    )
    with rasterio.open(tmp_path / "run" / "class.vrt") as raster:
        assert (raster.read(1) > 0).sum() == seen.sum()
    (item,) = (tmp_path / "run").glob("cells/*/*/item.json")
    properties = json.loads(item.read_text())["properties"]
    assert properties["timesen:absent_bands"] == ["B8A"]
    assert "Where B8A is absent from the source" in properties["processing:lineage"]
    report = (tmp_path / "run" / "report.html").read_text()
    assert "B8A is absent from the source, wholly or in part" in report


@pytest.mark.slow
def test_cropland_is_where_worldcereal_has_it(shared_data: Path, tmp_path: Path) -> None:
    """The checkpoint of real land, asked by the words of the vocabulary `cropland`."""
    ours = map_patch(shared_data, tmp_path, "real-land")
    assert (ours == read_cropland(shared_data).values).mean() >= 0.85


@pytest.mark.slow
def test_the_demo_maps_real_land(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--real", str(shared_data), "--folder", str(tmp_path)]) == 0
    assert str(tmp_path / "belgium-map" / "class.vrt") in capsys.readouterr().out
    with rasterio.open(tmp_path / "belgium-map" / "class.vrt") as raster:
        assert (raster.read(1) > 0).sum() == 10_000
    # An archive that was made before is as good as the data.
    made = tmp_path / "belgium"
    assert run(["demo", "--real", str(made), "--folder", str(tmp_path / "again")]) == 0


def test_the_demo_says_which_data_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--real", str(tmp_path / "none"), "--folder", str(tmp_path)]) == 2
    assert "belgium_2021_patch.nc" in capsys.readouterr().err
