"""A folder in which everything lies that the commands of pages name, made small."""

import shutil
import tomllib
from pathlib import Path

import geopandas
import h5py
import numpy as np
import pandas as pd
import torch
from shapely.geometry import box

from models.encoder.checkpoint import load_checkpoint
from models.encoder.preprocessing import BANDS
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.grid.region import read_region
from pipeline.sample.archive import SampleArchive
from pipeline.sample.series import sample_series
from pipeline.viewer.questions import Question
from pipeline.viewer.saved_question import saved_vocabulary
from tests.authors_file import CONFIG, beside, lightning, under
from tests.made_card import made_card
from tests.pages.commands import ROOT
from tests.pipeline.evaluation.made_samples import MadeSamples, made_samples, write_set, write_table
from tests.pipeline.point_series.test_sen4map import image_id, made, write_patch
from tests.tiny_clip import jpeg, photo, save_tiny_clip

# The sample landscape's classes in the words of other vocabularies.
_LAND_COVER = (
    *("Cropland", "Cropland", "Cropland", "Cropland", "Grassland", "Woodland", "Woodland"),
    *("Shrubland", "Wetlands", "Water", "Bareland", "Artificial land"),
)
_CROPLAND = tuple("cropland" if name == "Cropland" else "other land" for name in _LAND_COVER)
_WORDS = ("wheat field", "forest", "lake")


def make_world(folder: Path, archive: SampleArchive) -> None:
    """Write the files that commands read: regions, points, tables, sets, weights, photos."""
    _write_settings(folder, archive)
    _write_points(folder, archive)
    labelled = _in_other_words(made_samples(700))
    write_table(folder / "points", labelled)
    write_table(folder / "SERIES", labelled)
    for name in ("lucas", "scenic", "france", "lesotho", "made"):
        write_set(folder / "sets" / name, labelled)
    write_set(folder / "SET", labelled)
    asked = saved_vocabulary(Question(words=", ".join(_WORDS)), load_vocabulary("lucas-land-cover"))
    (folder / "words.toml").write_bytes(asked)
    ids = labelled.rows.ids
    words = [f"a photo of {_LAND_COVER[k].lower()}" for k in labelled.land]
    pd.DataFrame({"id": ids, "text": words}).to_csv(folder / "words.csv", index=False)
    for name in ("my-checkpoint", "TEACHER"):
        shutil.copytree(load_checkpoint("sample").path, folder / name)
    np.save(folder / "FILE.npy", sample_series(1, 400)[1])
    torch.save(lightning({**under("TS_ViT."), **beside()}), folder / "MODEL.ckpt")
    (folder / "CARD.json").write_text(made_card(CONFIG).model_dump_json())
    (folder / "Sen4Map").mkdir()
    bands, scenes = made(np.random.default_rng(1), 12)
    with h5py.File(folder / "Sen4Map" / "train.h5", "w") as file:
        dates = [image_id(month, 5) for month in range(1, 13)]
        write_patch(file, "39483080", dates, bands, np.full_like(scenes, 5))
    for number in range(4):
        place = folder / "PHOTOS" / f"FR_{1000 + number}N.jpg"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(jpeg(photo(number)))
    save_tiny_clip(folder / "clip")


def _write_settings(folder: Path, archive: SampleArchive) -> None:
    """The README's run.toml, with one thread, in a year and a region that the archive has."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = page.split("```toml\n")[1].split("```")[0]
    text = "\n".join(line.removeprefix("   ") for line in shown.splitlines())
    for written, here in (
        ("year = 2023", f"year = {archive.year}"),
        ('kind = "local" ', 'kind = "threads" '),
        ("workers = 4", "workers = 1"),
    ):
        assert written in text, written
        text = text.replace(written, here)
    tomllib.loads(text)
    (folder / "run.toml").write_text(text)
    years = text.replace(f"year = {archive.year}", f"years = [{archive.year}]")
    (folder / "years.toml").write_text(f"keep_embeddings = true\n{years}")
    near = box(6.0 - 0.002, 49.61 - 0.001, 6.0 + 0.002, 49.61 + 0.001)
    assert read_region(archive.region).geometry.contains(near)
    geopandas.GeoDataFrame(geometry=[near], crs=4326).to_file(folder / "aoi.geojson")
    halves = [box(5.998, 49.609, 6.0, 49.611), box(6.0, 49.609, 6.002, 49.611)]
    zones = geopandas.GeoDataFrame({"name": ["west", "east"]}, geometry=halves, crs=4326)
    zones.to_file(folder / "regions.gpkg")


def _write_points(folder: Path, archive: SampleArchive) -> None:
    rng, count = np.random.default_rng(6), 24
    places = geopandas.points_from_xy(
        6.0 + rng.uniform(-0.0015, 0.0015, count),
        49.61 + rng.uniform(-0.0008, 0.0008, count),
        crs=4326,
    )
    names = [f"p{number}" for number in range(count)]
    columns = {
        "id": names,
        "POINT_ID": names,
        "plot": names,
        "year": archive.year,
        "lc1": [("A11", "B11", "C10")[k % 3] for k in range(count)],
        "label_cover": [_WORDS[k % 3] for k in range(count)],
        "cover": [_WORDS[k % 3] for k in range(count)],
        "said": [f"we saw a {_WORDS[k % 3]}" for k in range(count)],
        "crop": [_WORDS[k % 3] for k in range(count)],
    }
    points = geopandas.GeoDataFrame(columns, geometry=places)
    for name in ("points", "reference", "lucas", "fields"):
        points.to_file(folder / f"{name}.gpkg")
    points.assign(**{"class": points["cover"]}).to_file(folder / "examples.geojson")


def _in_other_words(samples: MadeSamples) -> MadeSamples:
    """The samples with the labels that pages ask for."""
    classes = {name.name: name for name in load_vocabulary("lucas-land-cover").classes}
    assert set(_LAND_COVER) == set(classes)
    assert samples.rows.series.shape[2] == len(BANDS)
    cover = [_LAND_COVER[k] for k in samples.land]
    samples.rows.series[-2:] = samples.rows.series[:2]  # which had no observation
    samples.rows.labels.clear()
    samples.rows.labels.update(
        lc1=cover,
        cover=cover,
        **{"class": cover},
        crop=[_CROPLAND[k] for k in samples.land],
        nuts0=["FR" if k % 3 else "BE" for k in range(len(cover))],
        scenicness=[f"{value:.2f}" for value in np.linspace(1, 9, len(cover))],
    )
    return samples
