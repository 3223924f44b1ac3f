"""Descriptions of the sample's classes that its checkpoint learns, and their text embeddings.

Every class has specific wordings and shares general ones with its kin ("cropland", "woodland").
Some of each are held out: no training sees them, so that they show how far words carry.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.vocabulary.prompts import TEMPLATES, sentences
from pipeline.sample.classes import (
    BARE,
    BROADLEAVED,
    BUILT_UP,
    CLASS_COUNT,
    CONIFEROUS,
    CROPS,
    GRASSLAND,
    MAIZE,
    POTATO,
    RAPESEED,
    SHRUBLAND,
    WATER,
    WETLAND,
    WHEAT,
)


@dataclass(frozen=True)
class Description:
    """A wording, the classes that it is true of, and whether training leaves it out."""

    wording: str
    classes: tuple[int, ...]
    is_held_out: bool = False

    @property
    def is_general(self) -> bool:
        """Whether it is true of several classes."""
        return len(self.classes) > 1


_SPECIFIC_SHARE = 0.6  # how often a pixel's description is one of its class alone

# Wordings after the "|" are held out.
_SPECIFIC: dict[int, str] = {
    WHEAT: "winter wheat field, wheat field, winter wheat, wheat, field of winter wheat, "
    "winter cereals, cereal field, grain field, common wheat, wheat crop, autumn-sown cereal"
    " | field of wheat, winter cereal field, wheat farmland",
    MAIZE: "maize field, maize, corn field, corn, field of maize, silage maize, grain maize, "
    "sweet corn, maize crop, field of corn, green maize"
    " | cornfield, maize farmland, maize grown for fodder",
    RAPESEED: "rapeseed field, rapeseed, oilseed rape, field of rapeseed, canola, canola field, "
    "rape and turnip rape, winter rapeseed, yellow rapeseed in flower, oilseed rape field"
    " | field of oilseed rape, rapeseed crop, flowering canola",
    POTATO: "potato field, potatoes, potato, field of potatoes, potato crop, ware potatoes, "
    "starch potatoes, potato ridges, seed potatoes"
    " | potato farmland, field planted with potatoes, potato plantation",
    GRASSLAND: "permanent grassland, grassland, meadow, pasture, grass, hay meadow, grazed grass, "
    "natural grassland, mown meadow, herbaceous vegetation, natural herbaceous vegetation, "
    "grazing land, lawn"
    " | pasture land, grassy meadow, permanent pasture",
    BROADLEAVED: "broad-leaved woodland, broadleaved forest, deciduous forest, deciduous woodland, "
    "oak and beech forest, broad-leaved forest, beech forest, oak forest, deciduous trees, "
    "hardwood forest, broadleaved trees"
    " | broadleaf woodland, forest of beech and oak, deciduous broad-leaved trees",
    CONIFEROUS: "coniferous woodland, coniferous forest, conifers, spruce forest, pine forest, "
    "needle-leaved forest, evergreen needle-leaved trees, fir and spruce, coniferous trees, "
    "softwood plantation, evergreen coniferous forest"
    " | spruce plantation, evergreen conifer woodland, needleleaf forest",
    SHRUBLAND: "shrubland, shrubs, heathland, scrub, bushes, heath, scrubland, hedges and shrubs, "
    "moors and heathland, bushland, shrubs with scattered trees, transitional woodland and shrub"
    " | heather and shrubs, shrub land, thicket of bushes",
    WETLAND: "wetland, marsh, wetlands, reed bed, fen, swamp, peat bog, bog, inland marsh, "
    "herbaceous wetland, marshland, salt marsh, flooded reeds"
    " | marshy ground, reed swamp, wet fen",
    WATER: "lake or river, lake, river, water, open water, inland water body, water body, pond, "
    "permanent water body, surface water, fresh water, stream, reservoir, inland water"
    " | lakes and rivers, freshwater lake, body of water",
    BARE: "bare soil, bare land, bareland, bare ground, bare rock, quarry, sand, gravel pit, "
    "bare earth, sparse vegetation, sparsely vegetated area, open bare ground, mineral extraction"
    " | barren land, soil without vegetation, open-cast quarry",
    BUILT_UP: "built-up area, buildings, town, village, artificial land, houses and roads, "
    "urban area, buildings and roads, town or village, settlement, city, roofed built-up area, "
    "artificial surface, residential area, industrial site"
    " | built-up land, residential buildings, urban settlement",
}
_GENERAL: tuple[tuple[tuple[int, ...], str], ...] = (
    (
        CROPS,
        "cropland, arable land, crop field, arable field, cultivated land, agricultural field, "
        "farmland, annual crops, arable crops, crops | crop land, tilled field, land under crops",
    ),
    (
        (BROADLEAVED, CONIFEROUS),
        "woodland, forest, trees, tree cover, wooded area, woods, forest land, mixed forest"
        " | woodlands and forests, land covered by trees",
    ),
    ((MAIZE, POTATO), "summer crop, spring-sown crop | spring crops"),
    ((WHEAT, RAPESEED), "winter crop, autumn-sown crop | winter crops"),
)
ABSENT = (
    "snow and ice", "permanent snow", "glacier", "mangroves", "mangrove forest",
    "moss and lichen", "lichen tundra",
)  # fmt: skip
"""Wordings of what the sample does not hold: negatives for every pixel."""


def descriptions() -> tuple[Description, ...]:
    """All wordings, the specific ones first, in a fixed order."""
    found = []
    for classes, words in (*(((k,), text) for k, text in sorted(_SPECIFIC.items())), *_GENERAL):
        seen, _, held_out = words.partition("|")
        for part, is_held_out in ((seen, False), (held_out, True)):
            found += [
                Description(wording.strip(), classes, is_held_out)
                for wording in part.split(",")
                if wording.strip()
            ]
    return tuple(found)


class DescriptionTexts:
    """The text embeddings of descriptions, plain and in all templates.

    Attributes:
        embeddings: float32 (description, sentence, dim).
        absent: float32 (sentence, dim), of what the sample does not hold.
        is_true: bool (class, description): a description that is true of a pixel is no negative
            of it.
    """

    def __init__(
        self, seen: list[Description], embed: Callable[[Sequence[str]], np.ndarray]
    ) -> None:
        patterns = ("{}", *TEMPLATES)
        self.wordings = len(patterns)
        flat = embed(sentences([entry.wording for entry in seen], patterns))
        self.embeddings = torch.from_numpy(flat).unflatten(0, (len(seen), self.wordings))
        self.absent = torch.from_numpy(embed(sentences(ABSENT, patterns)))
        self.is_true = np.zeros((CLASS_COUNT, len(seen)), bool)
        for index, entry in enumerate(seen):
            self.is_true[list(entry.classes), index] = True
        is_general = np.array([entry.is_general for entry in seen])
        self._of_class = [
            (np.flatnonzero(row & ~is_general), np.flatnonzero(row & is_general))
            for row in self.is_true
        ]

    def choose(self, land: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw a description of each class in `land`, int (n,): int64 (n,)."""
        picked = np.empty(len(land), np.int64)
        for k, (specific, general) in enumerate(self._of_class):
            rows = np.flatnonzero(land == k)
            own = rng.choice(specific, len(rows))
            wide = rng.choice(general, len(rows)) if len(general) else own
            picked[rows] = np.where(rng.uniform(size=len(rows)) < _SPECIFIC_SHARE, own, wide)
        return picked
