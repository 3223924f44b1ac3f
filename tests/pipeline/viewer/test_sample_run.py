"""A run of the sample that keeps all it can: what is asked of it, and the year of its pixels."""

import io
import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time

import geopandas
import numpy as np
import pytest
import rasterio
from PIL import Image
from starlette.testclient import TestClient

from models.errors import TimesenError, UserError
from models.vocabulary.vocabulary import load_vocabulary, vocabulary_from_words
from pipeline.classification.similarity import embedding_at, open_embedded_run
from pipeline.errors import OutputUnreadable
from pipeline.io.store import Store
from pipeline.product.layers import CLASS, EMBEDDINGS
from pipeline.viewer import stored_embeddings
from pipeline.viewer.app import viewer_app
from pipeline.viewer.asked_run import AskedRun, embedded_run
from pipeline.viewer.map_tiles import MapTile
from pipeline.viewer.pixel_facts import pixel_facts
from pipeline.viewer.pixel_series import SeriesReader, series_failure
from pipeline.viewer.protection import own_names
from pipeline.viewer.questions import ClickedPixel, HeatAnswer, Question
from pipeline.viewer.saved_question import saved_examples, saved_vocabulary
from pipeline.viewer.tile_reading import MapTileReader
from pipeline.viewer.viewed_run import ViewedRun, open_viewed_run
from tests.pipeline.viewer.conftest import band_values, place_of

MIDDLE = (6.0, 49.6137)
WORDS = "forest, lake, town, field"


@pytest.fixture(scope="module")
def asked(kept: ViewedRun) -> AskedRun:
    return AskedRun(kept)


def pixel(asked: AskedRun, values: np.ndarray, row: int, column: int) -> tuple[float, float]:
    lon, lat = MapTile.at(*MIDDLE, 16).lonlat()
    return float(lon[column]), float(lat[row])


def test_a_heat_map_is_the_cosine_to_the_words_at_each_place(
    asked: AskedRun, kept_folder: Path
) -> None:
    told = asked.ask(Question(words="lake or river"))
    assert told["kind"] == "heat"
    assert told["low"] < told["high"]
    assert told["lowest_zoom"] == 0
    answer = asked.answer(told["id"])
    assert isinstance(answer, HeatAnswer)
    values = asked.tile_values(answer, MapTile.at(*MIDDLE, 16))
    assert np.isfinite(values).all(), "the border of zones has gaps"
    run, target = open_embedded_run(str(kept_folder)), answer.target.numpy()
    for row, column in ((10, 20), (200, 30), (128, 200), (40, 250)):
        lon, lat = pixel(asked, values, row, column)
        cosine = float(embedding_at(run, lon, lat) @ target)
        assert abs(values[row, column] - cosine) < 1e-5
        assert abs(asked.at(answer, lon, lat)["similarity"] - cosine) < 1e-5
    assert asked.at(answer, 8.0, 50.0)["similarity"] is None


def test_the_own_classes_of_a_run_are_its_map(asked: AskedRun, kept: ViewedRun) -> None:
    answer = asked.answer(asked.ask(Question())["id"])
    tile = MapTile.at(*MIDDLE, 16)
    mapped = MapTileReader(kept).read(CLASS, tile)
    assert mapped is not None
    # Stored embeddings are rounded; warped pixels may lie one aside.
    assert (asked.tile_values(answer, tile) == mapped[0]).mean() > 0.97


def test_several_words_make_a_map_and_a_click_changes_it(asked: AskedRun) -> None:
    tile = MapTile.at(*MIDDLE, 16)
    told = asked.ask(Question(words=WORDS))
    assert [entry["name"] for entry in told["legend"]] == WORDS.split(", ")
    answer = asked.answer(told["id"])
    before = asked.tile_values(answer, tile)
    row, column = (int(axis[0]) for axis in np.nonzero(before != 3))
    lon, lat = pixel(asked, before, row, column)

    right = ClickedPixel(lon=lon, lat=lat, name="town")
    after = asked.tile_values(
        asked.answer(asked.ask(Question(words=WORDS, clicked=(right,)))["id"]), tile
    )
    assert after[row, column] == 3
    assert (after == 3).sum() > (before == 3).sum(), "land like the pixel does not follow"

    was = WORDS.split(", ")[int(before[row, column]) - 1]
    wrong = ClickedPixel(lon=lon, lat=lat, name=was, right=False)
    told = asked.ask(Question(words=WORDS, clicked=(wrong,)))
    assert asked.tile_values(asked.answer(told["id"]), tile)[row, column] != before[row, column]
    assert asked.at(asked.answer(told["id"]), lon, lat)["top"][0]["name"] != was

    png = asked.tile(answer, tile, frozenset({int(before[row, column])}))
    seen = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))[..., 3] > 0
    assert np.array_equal(seen, before == before[row, column])


def test_land_like_a_pixel_and_clicks_on_a_heat_map(asked: AskedRun) -> None:
    tile = MapTile.at(*MIDDLE, 16)
    lon, lat = pixel(asked, np.zeros(0), 60, 60)
    like = Question(like=(lon, lat))
    answer = asked.answer(asked.ask(like)["id"])
    assert isinstance(answer, HeatAnswer)
    values = asked.tile_values(answer, tile)
    assert values[60, 60] > 0.999
    row, column = (int(axis[0]) for axis in np.nonzero(values < np.percentile(values, 30)))
    other = pixel(asked, values, row, column)
    clicked = (ClickedPixel(lon=other[0], lat=other[1]),)
    follows = asked.answer(asked.ask(like.model_copy(update={"clicked": clicked}))["id"])
    assert asked.tile_values(follows, tile)[row, column] > values[row, column] + 0.1


def test_what_cannot_be_asked_is_told(asked: AskedRun, made: ViewedRun) -> None:
    with pytest.raises(UserError, match="no embedding of this place"):
        asked.ask(Question(like=(0.0, 0.0)))
    with pytest.raises(UserError, match="no class of this map"):
        asked.ask(Question(words=WORDS, clicked=(ClickedPixel(lon=6, lat=49.6137, name="x"),)))
    with pytest.raises(UserError, match="Ask it again"):
        asked.answer("../../run.json")
    assert embedded_run(made) is None


def test_tiles_of_an_answer_take_less_than_300_ms(asked: AskedRun) -> None:
    answer = asked.answer(asked.ask(Question(words="forest"))["id"])
    spent = []
    for z in (14, 15, 16, 17, 18):
        began = process_time()
        asked.tile(answer, MapTile.at(*MIDDLE, z))
        spent.append(process_time() - began)
    assert median(spent) < 0.3


def test_large_runs_are_asked_from_near_only(
    asked: AskedRun, kept: ViewedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.viewer.asked_run._MOST_PARTS", 2)
    large = AskedRun(kept)
    told = large.ask(Question(words="forest"))
    assert told["lowest_zoom"] == 13  # of pixels of 12 m at 50°
    values = large.tile_values(large.answer(told["id"]), MapTile.at(*MIDDLE, 10))
    assert np.isnan(values).all()


def test_files_of_another_layout_are_read_by_gdal_and_damaged_ones_are_told(
    kept: ViewedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = stored_embeddings.StoredEmbeddings(kept.store, kept.items)
    cell = next(cell for cell in kept.cells if EMBEDDINGS.name in cell.layers)
    part = next(plain.parts_of(cell.id))
    expected = plain.read(part)
    assert expected.any()
    with monkeypatch.context() as patch:
        patch.setattr(stored_embeddings, "_places", lambda raster: None)
        other = stored_embeddings.StoredEmbeddings(kept.store, kept.items)
        assert np.array_equal(other.read(part), expected), "GDAL reads the same numbers"
    with monkeypatch.context() as patch:
        patch.setattr(type(kept.store), "read_range", lambda *_: b"cut")
        damaged = stored_embeddings.StoredEmbeddings(kept.store, kept.items)
        with pytest.raises(OutputUnreadable, match="embeddings cannot be read"):
            damaged.read(part)


def test_files_of_earlier_versions_have_no_predictor(kept: ViewedRun, tmp_path: Path) -> None:
    new = stored_embeddings.StoredEmbeddings(kept.store, kept.items)
    cell = next(cell for cell in kept.cells if EMBEDDINGS.name in cell.layers)
    part = next(new.parts_of(cell.id))
    file = tmp_path / part.key
    file.parent.mkdir(parents=True)
    with rasterio.open(kept.store.path(part.key)) as raster:
        assert raster.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        with rasterio.open(file, "w", **{**raster.profile, "predictor": 1}) as plain:
            plain.write(raster.read())
    old = stored_embeddings.StoredEmbeddings(Store(str(tmp_path)), kept.items)
    assert np.array_equal(old.read(part), new.read(part))
    with rasterio.open(file) as raster:
        assert stored_embeddings._places(raster), "its tiles are read without GDAL, too"


def test_questions_are_saved_as_files_that_classify_takes(kept: ViewedRun, tmp_path: Path) -> None:
    words = 'forest, lake: pond | lake, the "old" town'
    question = Question(
        words=words,
        clicked=(
            ClickedPixel(lon=6.0, lat=49.6, name="forest"),
            ClickedPixel(lon=6.1, lat=49.6, name="lake", right=False),
        ),
    )
    (tmp_path / "words.toml").write_bytes(saved_vocabulary(question, kept.vocabulary))
    found, wanted = load_vocabulary(tmp_path / "words.toml"), vocabulary_from_words(words)
    assert [one.name for one in found.classes] == [one.name for one in wanted.classes]
    assert [one.synonyms for one in found.classes] == [one.synonyms for one in wanted.classes]
    (tmp_path / "own.toml").write_bytes(saved_vocabulary(Question(), kept.vocabulary))
    assert load_vocabulary(tmp_path / "own.toml") == kept.vocabulary

    content = saved_examples(question, kept.vocabulary)
    (tmp_path / "examples.geojson").write_bytes(content)
    points = geopandas.read_file(tmp_path / "examples.geojson")
    assert points["class"].tolist() == ["forest"]
    assert json.loads(content)["features"][0]["geometry"]["coordinates"] == [6.0, 49.6]
    with pytest.raises(UserError, match="Click some pixels"):
        saved_examples(Question(words=words), kept.vocabulary)


def test_a_run_of_kept_embeddings_asks_those(kept: ViewedRun, tmp_path: Path) -> None:
    store = kept.store
    for key in ("vocabulary.json", "text.safetensors"):
        (tmp_path / key).write_bytes(store.read(key))
    cell = kept.cells[0]
    for path in Path(store.path(cell.key(CLASS))).parent.iterdir():
        target = tmp_path / path.relative_to(store.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not path.name.startswith("embeddings"):
            target.write_bytes(path.read_bytes())
    manifest = json.loads(store.read("run.json"))
    manifest["settings"]["embeddings"] = store.root
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    item_key = tmp_path / cell.key(CLASS).replace("class.tif", "item.json")
    item = json.loads(item_key.read_text())
    plain = ("class", "confidence")
    item["assets"] = {k: v for k, v in item["assets"].items() if k in plain}
    item_key.write_text(json.dumps(item))
    classified = open_viewed_run(str(tmp_path))
    assert not classified.has(EMBEDDINGS)
    assert classified.may_be_asked
    source = embedded_run(classified)
    assert source is not None
    assert source.store.root == store.root
    words = vocabulary_from_words("forest, lake")
    asked = AskedRun(source, replace(classified, vocabulary=words))
    assert asked.ask(Question())["legend"][0]["name"] == "forest", "its own classes are asked"

    app = viewer_app([classified], own_names("127.0.0.1"))
    rows, columns = np.nonzero(band_values(kept, cell, CLASS)[0])
    lon, lat = place_of(cell, int(rows[9]), int(columns[9]))
    with TestClient(app, base_url="http://localhost") as client:
        pixel = client.get("/api/runs/0/pixel", params={"lon": lon, "lat": lat}).json()
    assert len(pixel["top"]) == 4, "the next best classes come from the embedding"
    assert pixel["top"][0]["value"] == pixel["value"]
    assert pixel["note"] == ""


@pytest.fixture(scope="module")
def clicked(kept: ViewedRun) -> tuple[float, float]:
    """The place of a pixel with a class."""
    cell = kept.cells[0]
    rows, columns = np.nonzero(band_values(kept, cell, CLASS)[0])
    return place_of(cell, int(rows[len(rows) // 2]), int(columns[len(rows) // 2]))


def test_the_year_is_that_of_the_map(kept: ViewedRun, clicked: tuple[float, float]) -> None:
    facts = pixel_facts(kept, *clicked)
    assert facts is not None
    assert len(facts.top) == 3
    series = SeriesReader(kept).read(facts.cell, facts.row, facts.column)
    assert series["clear"] == facts.clear
    seen = [count > 0 for count in series["clear"]]
    assert any(seen)
    assert [value is not None for value in series["ndvi"]] == seen
    assert all(-1 <= value <= 1 for value in series["ndvi"] if value is not None)
    assert {"B02", "B04", "B08"} <= set(series["bands"])
    dates = [item["date"] for item in series["items"]]
    assert dates == sorted(dates)
    used = {item["date"][5:7] for item in series["items"] if item["used"]}
    assert used == {f"{month + 1:02}" for month, there in enumerate(seen) if there}


def test_an_archive_that_is_gone_is_told(
    kept_folder: Path, clicked: tuple[float, float], tmp_path: Path
) -> None:
    run = open_viewed_run(str(kept_folder))
    facts = pixel_facts(run, *clicked)
    assert facts is not None
    settings = {**run.manifest.settings, "checkpoint": str(tmp_path / "gone")}
    object.__setattr__(run.manifest, "settings", settings)
    with pytest.raises(TimesenError, match="gone") as told:
        SeriesReader(run).read(facts.cell, facts.row, facts.column)
    assert "gone" in series_failure(told.value)
    said = series_failure(ValueError("cut \x1b[31m https://u:secret@host/a.tif?sig=secret"))
    assert "secret" not in said
    assert "\x1b" not in said
