"""The drawing of the landscape: parcels on a fine grid in the plane."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from pipeline.sample.classes import (
    BARE,
    BROADLEAVED,
    BUILT_UP,
    CONIFEROUS,
    CROPS,
    GRASSLAND,
    SHRUBLAND,
    WATER,
    WETLAND,
)
from pipeline.sample.partition import bent, cuts, jittered, nearest, to_path

EXTENT = 5600.0
"""Metres from side to side, centred on the plane's origin."""

FINE = 4.0
"""Metres of the fine grid."""

_N = int(EXTENT / FINE)
_BLOCKS = 62
_CROP_SHARES = (0.31, 0.25, 0.18, 0.12, 0.14)  # wheat, maize, rapeseed, potato; else grass
_QUARRIES = (
    (820, -420, 165),
    (-520, 1750, 150),
    (2150, 500, 120),
    (-650, -950, 95),
)  # x, y, radius
_MEADOW_SHARES = (0.05, 0.05, 0.03, 0.02, 0.85)


def draw_parcel_map(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the parcels: their numbers from 0, int32 (row, column), first row north; and classes."""
    ground = _Ground(rng)
    ground.fields()
    ground.woods()
    ground.river_and_lake()
    ground.quarries()
    ground.villages_and_roads()
    return ground.numbered()


class _Ground:
    """The fine grid while it is drawn: each layer covers those below it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        half = EXTENT / 2
        across = np.arange(_N, dtype=np.float32) * FINE + FINE / 2 - half
        self._x, self._y = np.meshgrid(across, -across)
        self._key = np.zeros((_N, _N), np.int64)  # numbers of parcels
        self._land: list[int] = []
        self._wooded = np.zeros((_N, _N), bool)

    def fields(self) -> None:
        """Blocks of fields, each with its own direction, hedged or with a track along them."""
        rng = self._rng
        seeds = rng.uniform(-EXTENT / 2, EXTENT / 2, (_BLOCKS, 2))
        coarse_x, coarse_y = (np.ascontiguousarray(of[::8, ::8]) for of in (self._x, self._y))
        for _ in range(2):  # two steps towards a centroidal partition: blocks of similar size
            block, _gap = nearest(coarse_x, coarse_y, seeds)
            for k in range(_BLOCKS):
                inside = block == k
                if inside.any():
                    seeds[k] = coarse_x[inside].mean(), coarse_y[inside].mean()
        block, gap = nearest(self._x, self._y, seeds)
        meadow = self._noise(500) > 0.75
        for k in range(_BLOCKS):
            rows, columns = np.nonzero(block == k)
            if len(rows):
                place = (rows, columns)
                self._fields_of_block(place, seeds[k], bool(meadow[rows, columns].mean() > 0.5))
        border = self._rng.uniform(size=_BLOCKS)[block]
        self._put((gap < 5.0) & (border < 0.40), self._new(SHRUBLAND))
        self._put((gap < 7.0) & (border > 0.86), self._new(BROADLEAVED))
        self._tracks = (gap < 4.0) & (border >= 0.40) & (border <= 0.62)

    def _fields_of_block(
        self, place: tuple[np.ndarray, np.ndarray], seed: np.ndarray, is_meadow: bool
    ) -> None:
        rng = self._rng
        turn = rng.uniform(0, np.pi)
        x, y = self._x[place] - seed[0], self._y[place] - seed[1]
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        strip = np.searchsorted(cuts(rng, 90, 210), u)
        number = np.zeros(len(u), np.int64)
        for k in np.unique(strip):
            inside = strip == k
            number[inside] = np.searchsorted(cuts(rng, 130, 420), v[inside]) + 1000 * k
        shares = _MEADOW_SHARES if is_meadow else _CROP_SHARES
        for k in np.unique(number):
            inside = number == k
            land = (*CROPS, GRASSLAND)[rng.choice(5, p=shares)]
            self._key[place[0][inside], place[1][inside]] = self._new(land)

    def woods(self) -> None:
        """Woods with compartments of needle or broad leaves, heath and shrubs at their edges."""
        height = self._noise(420)
        ragged = height + 0.12 * self._noise(45)
        wood, edge = ragged > 0.95, (ragged > 0.80) & (ragged <= 0.95)
        heath = (ragged < -1.28) & (self._noise(300) > -0.9)
        compartment, _gap = self._partition(150)
        needles = self._noise(500)
        self._stands(wood, compartment, lambda at: CONIFEROUS if needles[at] > 0.0 else BROADLEAVED)
        self._stands(edge & (self._noise(160) > 0.1), compartment, lambda _at: SHRUBLAND)
        self._stands(heath, compartment, lambda _at: SHRUBLAND)
        self._wooded = wood

    def river_and_lake(self) -> None:
        """A river from west to east, meadows and wetland along it, and a lake with reeds."""
        rng, x = self._rng, self._x
        phase = rng.uniform(0, 2 * np.pi, 3)
        bed = -360 + 260 * np.sin(x / 900 + phase[0]) + 90 * np.sin(x / 330 + phase[1])
        slope = 260 / 900 * np.cos(x / 900 + phase[0]) + 90 / 330 * np.cos(x / 330 + phase[1])
        away = np.abs(self._y - bed) / np.sqrt(1 + slope**2)
        lake_x, lake_y = -900 + rng.uniform(-150, 150), 640 + rng.uniform(-120, 120)
        turned = (x - lake_x) * 0.87 + (self._y - lake_y) * 0.5
        lake = np.hypot(turned / 420, ((self._y - lake_y) * 0.87 - (x - lake_x) * 0.5) / 255)
        lake = lake + 0.14 * self._noise(90)
        damp = self._noise(140)
        plots, _gap = self._partition(190)
        self._stands((away < 190 + 60 * damp) | (lake < 1.7), plots, lambda _at: GRASSLAND)
        marsh = (away < 55 + 55 * (damp + 0.3)) | ((lake < 1.34 + 0.22 * damp) & (lake >= 1.0))
        beds, _gap = self._partition(110)
        self._stands(marsh, beds, lambda _at: WETLAND)
        width = 17 + 6 * np.sin(x / 500 + phase[2])
        self._put(away < width, self._new(WATER))
        self._put(lake < 1.0, self._new(WATER))

    def villages_and_roads(self) -> None:
        """Three built-up places, roads between them, tracks between blocks of fields."""
        rng = self._rng
        bearing = rng.uniform(0, 2 * np.pi)
        places = np.array([(430, 520), (1750, -1350), (-1900, -1500), (1500, 1900), (-1800, 1900)])
        places = places + rng.uniform(-130, 130, places.shape)
        reach = np.array([270, 330, 240, 300, 200])
        ways = [(0, 1), (0, 2), (0, 3), (3, 4)]
        for number, (a, b) in enumerate(ways):
            bend = 70 * np.sin(bearing + number)
            distance = to_path(self._x, self._y, bent(places[a], places[b], bend))
            self._put(distance < 6.5, self._new(BUILT_UP))
        wet = np.isin(self._class(), (WATER, WETLAND))
        self._put(self._tracks & ~self._wooded & ~wet, self._new(BARE))
        lots, _gap = self._partition(32)
        blocks, alley = self._partition(120)
        ragged = 0.25 * self._noise(70)
        for (px, py), size in zip(places, reach, strict=True):
            town = np.hypot(self._x - px, self._y - py) / size + ragged < 1
            town &= self._class() != WATER
            self._stands(town, lots, lambda _at: BUILT_UP)
            green = town & np.isin(blocks, self._rng.permutation(int(blocks.max()) + 1)[::9])
            self._stands(green, blocks, lambda _at: GRASSLAND)
            self._put(town & (alley < 4.5), self._new(BUILT_UP))

    def quarries(self) -> None:
        """A quarry and other open ground."""
        plots, _gap = self._partition(120)
        for px, py, size in _QUARRIES:
            cx, cy = px + self._rng.uniform(-90, 90), py + self._rng.uniform(-90, 90)
            distance = np.hypot(self._x - cx, (self._y - cy) * 1.25) / size
            open_ground = (distance + 0.16 * self._noise(60) < 1) & (self._class() != WATER)
            self._stands(open_ground, plots, lambda _at: BARE)

    def numbered(self) -> tuple[np.ndarray, np.ndarray]:
        """Visible parcels, numbered from 0: int32 (row, column), and their classes."""
        used, parcel = np.unique(self._key, return_inverse=True)
        return parcel.reshape(_N, _N).astype(np.int32), np.array(self._land)[used]

    def _new(self, land: int) -> int:
        self._land.append(land)
        return len(self._land) - 1

    def _put(self, where: np.ndarray, parcel: int) -> None:
        self._key[where] = parcel

    def _class(self) -> np.ndarray:
        return np.array(self._land)[self._key]

    def _stands(
        self, where: np.ndarray, partition: np.ndarray, land: Callable[[tuple[int, int]], int]
    ) -> None:
        """One parcel for each piece of the partition that lies in `where`."""
        rows, columns = np.nonzero(where)
        _pieces, first, inverse = np.unique(
            partition[rows, columns], return_index=True, return_inverse=True
        )
        new = [self._new(land((rows[k], columns[k]))) for k in first]
        self._key[rows, columns] = np.array(new, np.int64)[inverse]

    def _partition(self, size: float) -> tuple[np.ndarray, np.ndarray]:
        """Pieces about `size` metres across, and the distance to the next piece's border."""
        return jittered(self._x, self._y, size, int(self._rng.integers(1 << 31)))

    def _noise(self, scale: float) -> np.ndarray:
        """A smooth random field of about `scale` metres: mean 0, spread 1."""
        coarse = max(8, int(EXTENT / scale * 4))
        field = gaussian_filter(self._rng.standard_normal((coarse, coarse)), 1.6)
        field = zoom(field, _N / coarse, order=1, grid_mode=True, mode="nearest")[:_N, :_N]
        return ((field - field.mean()) / field.std()).astype(np.float32)
