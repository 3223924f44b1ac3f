"""Settings: a TOML file for each command, and options laid over it."""

import random
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flows.settings.dataset import (
    PackSettings,
    PhotoSettings,
    Sen4MapSettings,
    SeriesSettings,
    TextSettings,
)
from flows.settings.distil import DistilSettings
from flows.settings.evaluate import CheckpointEvaluation, MapEvaluation
from flows.settings.pretrain import PretrainSettings
from pipeline.settings.load import load_settings, validated
from pipeline.settings.map import ClassifySettings, MapSettings, SearchSettings
from tests.fuzz.mutate import changed_bytes, changed_document, to_toml
from tests.fuzz.target import Files, Target, Wrong

_MAP: dict[str, Any] = {
    "region": "5.1,49.6,5.2,49.7", "year": 2021, "out": "runs/{year}", "checkpoint": "sample",
    "vocabulary": "lucas-land-cover", "level": "class", "top_k": 3, "first_month": 4, "steps": 12,
    "cell_size": 512, "batch_size": 1000, "keep_embeddings": False,
    "catalog": {"url": "earth-search", "collection": "sentinel-2-l2a", "max_cloud_cover": 80},
    "reading": {"keep_scl": [4, 5, 6], "dilate": 100.0, "most_a_month": 4, "strict": True,
                "composite": "median", "substitute": {"B8A": "B08"}, "least_clear": 2},
    "cluster": {"kind": "local", "workers": 2, "threads": 1},
}  # fmt: skip
_FILES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "map": (MapSettings, _MAP),
    "search": (
        SearchSettings,
        {"region": "31UFS", "year": "last", "catalog": {"url": "http://127.0.0.1:1/stac"}},
    ),
    "classify": (
        ClassifySettings,
        {"run": "a", "out": "b", "classes": "forest, lake", "examples": "p.csv", "label": "c"},
    ),
    "pretrain": (
        PretrainSettings,
        {
            "dataset": ["a", "b"], "out": "c", "shares": [0.4, 0.6], "processes": 1,
            "encoder": {"kind": "timesenclip", "dim": 64, "depth": 2, "heads": 4},
            "recipe": {"steps": 300, "batch": 64, "rate": 1e-4, "months": "12,4"},
            "balance": "cover",
            "cluster": {"kind": "threads"}, "tracker": "none",
        },
    ),
    "distil": (
        DistilSettings,
        {"teacher": "sample", "out": "s", "run": "runs/a", "pixels": 1000, "steps": 100},
    ),
    "evaluate": (
        CheckpointEvaluation,
        {"data": "set", "checkpoint": "sample", "label": "cover", "classes": "forest, lake",
         "steps": [12, 4], "region": "nuts0", "block_km": 20.0},
    ),
    "evaluate-map": (MapEvaluation, {"run": "a", "points": "p.csv", "label": "cover"}),
    "series": (
        SeriesSettings,
        {"points": "p.csv", "out": "t", "labels": ["cover"], "optional_bands": ["B8A"],
         "classes": {"cover": ["a", "b"]}, "reading": {"dilate": 10}},
    ),
    "sen4map": (Sen4MapSettings, {"files": ["a.h5"], "out": "t", "reading": {"keep_scl": "4,5"}}),
    "photos": (PhotoSettings, {"photos": "p", "tower": "clip:a", "out": "t", "part_size": 10}),
    "texts": (
        TextSettings,
        {"table": "t.csv", "out": "t", "class_column": "c", "possible_column": "p"},
    ),
    "pack": (PackSettings, {"series": ["a"], "ground": "g", "out": "o", "split": {"seed": 3}}),
}  # fmt: skip


class SettingsFiles(Target):
    """A file of a command's settings, loaded, written and loaded again."""

    name = "settings"

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        for model, raw in _FILES.values():
            load_settings(model, raw)  # they are valid

    def make(self, draw: random.Random) -> Files:
        command = draw.choice(("map", *_FILES))
        raw = _FILES[command][1]
        if draw.random() < 0.15:
            content = changed_bytes(to_toml(raw), draw)
        else:
            changed = changed_document(raw, draw, [raw for _, raw in _FILES.values()])
            content = to_toml(changed if isinstance(changed, dict) else {"out": changed})
        return {f"{command}.toml": content}

    def read(self, files: Files) -> None:
        folder = self.write(files)
        name = next(iter(files))
        model, _ = _FILES[name.removesuffix(".toml")]
        settings = load_settings(model, {}, folder / name)
        dumped = settings.model_dump(mode="json", by_alias=False)
        settings.model_dump_json().encode()
        if validated(model, dumped, "again", "") != settings:
            raise Wrong("settings that were written are read as others")
