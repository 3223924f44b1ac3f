"""The sample's land-cover classes: their reflectances and calendars, from `classes.toml`."""

import tomllib
from pathlib import Path

import numpy as np

from models.vocabulary.vocabulary import VocabularyClass, load_vocabulary

SAMPLE_VOCABULARY = "sample-landscape"

CLASSES = ("wheat", "maize", "rapeseed", "potato", "grassland", "broadleaved",
           "coniferous", "shrubland", "wetland", "water", "bare", "built_up")  # fmt: skip
"""The classes in the order of the vocabulary, by their names in TOML files."""
WHEAT, MAIZE, RAPESEED, POTATO, GRASSLAND, BROADLEAVED = range(6)
CONIFEROUS, SHRUBLAND, WETLAND, WATER, BARE, BUILT_UP = range(6, 12)
CLASS_COUNT = len(CLASSES)
CROPS = (WHEAT, MAIZE, RAPESEED, POTATO)

_DATA = tomllib.loads(Path(__file__).with_name("classes.toml").read_text(encoding="utf-8"))
_MATERIALS = _DATA["materials"]


def class_table(name: str) -> np.ndarray:
    """A table of `classes.toml`: one row per class, in their order."""
    rows = (_DATA[name][of_class] for of_class in CLASSES)
    return np.array([_MATERIALS[row] if isinstance(row, str) else row for row in rows])


# A class is a mixture of its green canopy, its dry matter and the ground beneath. Reflectances
# × 10000, float32 (class, band).
GREEN, DRY, GROUND = (class_table(name).astype(np.float32) for name in ("green", "dry", "ground"))

FLOWERING, SNOW, CLOUD, SHADOW = (
    np.array(_MATERIALS[name], np.float32) for name in ("flowering", "snow", "cloud", "shadow")
)


def sample_classes() -> tuple[VocabularyClass, ...]:
    """The twelve classes in their order, with names, codes, colours and raster values 1 … 12."""
    return load_vocabulary(SAMPLE_VOCABULARY).classes
