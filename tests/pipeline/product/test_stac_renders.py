"""The collection's `renders`, used as titiler-pgstac uses them: by titiler, on the run's items."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from rio_tiler.io import STACReader
from titiler.core.factory import MultiBaseTilerFactory

from models.vocabulary.vocabulary import vocabulary_from_words
from pipeline.product.layers import WHITE
from pipeline.product.ledger import write_collection
from pipeline.product.stac_renders import renders_of, stac_renders
from tests.pipeline.made_run import ONE_ZONE, MadeRun, make_run
from tests.stac_validation import validate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    folder = tmp_path_factory.mktemp("run")
    made = make_run(str(folder), ONE_ZONE, 2048, top_k=2)
    write_collection(made.store, made.run, made.items, made.vocabulary)
    return made


def _collection(made: MadeRun) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(made.store.read("collection.json"))
    return document


def _query(render: dict[str, Any]) -> dict[str, Any]:
    """The query of titiler for a render, as `defaults_params` of titiler-pgstac makes it."""
    query = {key: value for key, value in render.items() if key != "title"}
    if "rescale" in query:
        query["rescale"] = [",".join(map(str, pair)) for pair in query["rescale"]]
    if "colormap" in query:
        query["colormap"] = json.dumps(query["colormap"])
    return query


def test_titiler_draws_each(made: MadeRun) -> None:
    collection, item = _collection(made), made.items[0]
    assert set(collection["renders"]) == {"class", "confidence", "clear-months", "true-colour"}
    path = Path(made.store.root, "cells", item["properties"]["timesen:tile"], item["id"])
    app = FastAPI()
    app.include_router(MultiBaseTilerFactory(reader=STACReader).router)
    pictures = {}
    with TestClient(app) as client:
        for name, render in collection["renders"].items():
            place = {"url": str(path / "item.json"), "max_size": 256}
            answer = client.get("/preview.png", params={**place, **_query(render)})
            assert answer.status_code == 200, answer.text
            pictures[name] = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))
    colours = {tuple(bytes.fromhex(entry.colour[1:])) for entry in made.vocabulary.legend}
    shown = pictures["class"][pictures["class"][..., 3] > 0]
    assert {tuple(pixel) for pixel in shown[:, :3].tolist()} == colours
    assert (pictures["class"][..., 3] == 0).any()  # what the region does not own
    viridis = pictures["confidence"][pictures["confidence"][..., 3] > 0]
    assert len(np.unique(viridis, axis=0)) > 20
    assert viridis[:, 1].max() > viridis[:, 0].max()  # green, as 30 to 90 % are
    true = pictures["true-colour"][pictures["true-colour"][..., 3] > 0]
    made_of = np.array([[40 * k, 50 * k, 30 * k] for k in range(1, 6)])
    shown = np.unique(true[:, :3], axis=0)
    brighter = np.minimum(made_of * 255 / WHITE, 255)
    assert all(np.abs(brighter - colour).max(axis=1).min() <= 2 for colour in shown)


def test_they_are_valid_and_pystac_reads_them(made: MadeRun) -> None:
    document = _collection(made)
    assert any("/render/" in url for url in validate(document))
    collection = pystac.Collection.from_dict(document)
    assert collection.ext.has("render")
    assert collection.ext.render["confidence"].rescale == [[0, 100]]


def test_an_item_has_those_of_its_assets(made: MadeRun) -> None:
    renders = _collection(made)["renders"]
    assert set(renders_of(renders, ["class", "embeddings-0000-0000"])) == {"class"}
    item = made.items[0]
    item["properties"]["renders"] = renders_of(renders, item["assets"])
    url = "https://stac-extensions.github.io/render/v2.0.0/schema.json"
    assert url in validate({**item, "stac_extensions": [*item["stac_extensions"], url]})


def test_all_values_of_many_classes_have_a_colour(made: MadeRun) -> None:
    many = vocabulary_from_words(", ".join(f"class {number}" for number in range(300)))
    render = stac_renders(made.run, many, ["class"])["class"]
    assert set(render["colormap"]) == {str(value) for value in range(1, 301)}
