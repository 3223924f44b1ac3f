"""The sample's land-cover classes and the reflectance of what they are made of.

The spectra are typical Sentinel-2 surface reflectances, rounded: healthy leaves are dark in blue
and red (chlorophyll), have a shoulder in green, the red edge near 0.72 µm, a plateau of 0.3 to
0.5 in the near infrared, and water absorption in the short-wave infrared; needle-leaved canopies
are about half as bright; dry litter and soil rise steadily towards 1.6 µm; clear water absorbs
nearly everything beyond 0.7 µm. Facts: Kokaly et al. 2017 (USGS Spectral Library Version 7),
Meerdink et al. 2019 (ECOSTRESS Spectral Library), Jacquemoud & Baret 1990 (PROSPECT), Drusch et
al. 2012 (Sentinel-2's bands); yellow canopies of flowering rapeseed: d'Andrimont et al. 2020.
"""

from dataclasses import dataclass

import numpy as np

from models.vocabulary.vocabulary import VocabularyClass, load_vocabulary

SAMPLE_VOCABULARY = "sample-landscape"

WHEAT, MAIZE, RAPESEED, POTATO, GRASSLAND, BROADLEAVED = range(6)
CONIFEROUS, SHRUBLAND, WETLAND, WATER, BARE, BUILT_UP = range(6, 12)
CLASS_COUNT = 12
CROPS = (WHEAT, MAIZE, RAPESEED, POTATO)


@dataclass(frozen=True)
class Endmembers:
    """What a class is a mixture of: reflectance × 10000 in the bands B02 … B12, (class, band).

    `green`: its closed green canopy; `dry`: its dry or leafless matter; `ground`: what lies
    beneath (soil, litter, water, roofs and roads).
    """

    green: np.ndarray
    dry: np.ndarray
    ground: np.ndarray


# fmt: off
_SOIL = (700, 960, 1270, 1470, 1610, 1740, 1880, 2030, 2650, 2250)
_STRAW = (850, 1250, 1650, 2000, 2350, 2550, 2750, 2900, 3100, 2250)
_LITTER = (380, 560, 700, 950, 1250, 1400, 1550, 1700, 2050, 1450)

# B02, B03, B04, B05, B06, B07, B08, B8A, B11, B12
_SPECTRA: dict[int, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    WHEAT: ((240, 520, 270, 900, 2950, 3850, 4050, 4250, 1800, 880), _STRAW, _SOIL),
    MAIZE: ((300, 560, 340, 900, 2600, 3350, 3550, 3700, 1650, 760), _STRAW, _SOIL),
    RAPESEED: ((280, 640, 310, 1050, 3250, 4250, 4450, 4650, 2050, 1000), _STRAW, _SOIL),
    POTATO: ((350, 760, 370, 1200, 3500, 4500, 4750, 4900, 2150, 1050), _STRAW, _SOIL),
    GRASSLAND: (
        (330, 680, 420, 1100, 2650, 3200, 3400, 3600, 2250, 1200),
        (650, 950, 1100, 1500, 1950, 2200, 2400, 2550, 2800, 1900),
        (500, 750, 850, 1150, 1500, 1650, 1800, 1900, 2300, 1700),
    ),
    BROADLEAVED: (
        (210, 440, 220, 720, 2600, 3500, 3700, 3900, 1700, 760),
        (360, 500, 600, 820, 1150, 1330, 1450, 1600, 1850, 1200), _LITTER,
    ),
    CONIFEROUS: (
        (170, 320, 180, 470, 1450, 1800, 1950, 2100, 950, 420),
        (260, 360, 400, 560, 850, 980, 1080, 1150, 1150, 680), _LITTER,
    ),
    SHRUBLAND: (
        (290, 500, 370, 820, 1850, 2200, 2350, 2500, 1750, 950),
        (430, 600, 720, 1000, 1350, 1550, 1700, 1800, 2250, 1600), _LITTER,
    ),
    WETLAND: (
        (300, 530, 380, 850, 2100, 2600, 2800, 2900, 1250, 600),
        (560, 780, 950, 1200, 1500, 1650, 1800, 1900, 1700, 1050),
        (330, 450, 400, 430, 450, 460, 440, 420, 220, 130),
    ),
    WATER: (
        (320, 560, 330, 520, 700, 780, 750, 720, 180, 90),
        (320, 400, 260, 220, 140, 130, 110, 95, 40, 25),
        (330, 400, 230, 190, 120, 110, 95, 85, 35, 22),
    ),
    BARE: (
        (330, 620, 420, 1050, 2300, 2800, 3000, 3150, 2300, 1300), _STRAW,
        (1050, 1420, 1800, 2050, 2220, 2360, 2500, 2620, 3350, 3050),
    ),
    BUILT_UP: (
        (320, 620, 400, 1000, 2300, 2800, 3000, 3150, 2000, 1050), _LITTER,
        (1020, 1150, 1260, 1350, 1420, 1480, 1580, 1620, 1780, 1660),
    ),
}
FLOWERING = np.array((430, 1350, 1150, 1750, 3350, 3900, 4100, 4300, 2150, 1150), np.float32)
"""A rapeseed canopy in full flower."""

SNOW = np.array((8300, 8200, 8100, 8000, 7900, 7700, 7500, 7200, 900, 700), np.float32)
CLOUD = np.array((5900, 5700, 5800, 5900, 6000, 6050, 6100, 6150, 4300, 3500), np.float32)
"""An opaque water cloud: white up to 1 µm, darker in the short-wave infrared."""
SHADOW = np.array((0.52, 0.44, 0.38, 0.36, 0.34, 0.33, 0.32, 0.32, 0.27, 0.25), np.float32)
"""What a cloud's shadow leaves of the light: skylight only, so the blue keeps most."""
# fmt: on

ENDMEMBERS = Endmembers(
    *(
        np.array([_SPECTRA[index][part] for index in range(CLASS_COUNT)], np.float32)
        for part in range(3)
    )
)


def sample_classes() -> tuple[VocabularyClass, ...]:
    """The twelve classes in their order, with names, codes, colours and raster values 1 … 12."""
    return load_vocabulary(SAMPLE_VOCABULARY).classes
