"""A run's map as a static site: any web server or bucket that serves files can serve it.

The page is the viewer's own, without what needs a server. The tiles of a layer are in one PMTiles
file (version 3, https://github.com/protomaps/PMTiles), which the page reads by ranges of bytes. A
tile of classes is a picture of numbers, not of colours, so that the page can tell the class of a
place, show a class alone, and fade by confidence.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from dask.system import CPU_COUNT
from PIL import Image
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url
from pipeline.product.layers import CLASS, CONFIDENCE, NODATA_CONFIDENCE, TRUE_COLOUR
from pipeline.viewer.map_tiles import HIGHEST_ZOOM, TILE_SIDE, CellIndex, MapTile
from pipeline.viewer.page_files import page_files
from pipeline.viewer.protection import content_policy
from pipeline.viewer.tile_pictures import true_colour_png
from pipeline.viewer.tile_reading import MapTileReader
from pipeline.viewer.viewed_run import ViewedRun

SITE = "site.json"
_FINEST = 10.0  # metres a side of a pixel: that of the map
_COARSEST_TRUE_COLOUR = 4  # times as coarse: two zooms fewer


@dataclass(frozen=True)
class StaticSite:
    """A site that was written: how many tiles it has, and how many bytes they take."""

    tiles: int
    size: int


def export_site(
    run: ViewedRun, folder: str, progress: Callable[[int, int], None] = lambda done, of: None
) -> StaticSite:
    """Write the site of a run into a folder or an object store's prefix.

    Args:
        run: The run.
        folder: Where to; it must hold nothing but an earlier site.
        progress: Called with the number of finished tiles, and of all.

    Raises:
        OutputError: The folder holds something else.
        OutputUnwritable: It takes no file.
        OutputUnreadable: A raster of the run cannot be read.
    """
    store = Store(folder)
    _require_free(store)
    reader, index = MapTileReader(run), CellIndex(run.cells)
    highest = _highest_zoom(run)
    layers: list[tuple[str, str, int, Callable[[MapTile], bytes | None]]] = [
        (CLASS.name, "class.pmtiles", highest, lambda tile: _numbers_png(reader, tile))
    ]
    if run.has(TRUE_COLOUR):
        layers.append(
            (
                TRUE_COLOUR.name,
                "true-colour.pmtiles",
                max(highest - _COARSEST_TRUE_COLOUR // 2, 0),
                lambda tile: _true_colour_png(reader, tile),
            )
        )
    wanted = [sorted(_tiles_of(run, index, name, top), key=_tile_id) for name, _, top, _ in layers]
    count, done, size = sum(map(len, wanted)), 0, 0
    for (_, key, _, make), tiles in zip(layers, wanted, strict=True):
        with store.new_file(key) as path, path.open("wb") as file:
            writer = Writer(file)
            for tile, content in _made(tiles, make):
                done += 1
                progress(done, count)
                if content is not None:
                    writer.write_tile(_tile_id(tile), content)
            if not writer.tile_entries:  # none would be an error of the package
                writer.write_tile(0, _png(np.zeros((TILE_SIDE, TILE_SIDE, 3), np.uint8)))
            writer.finalize(_header(run), {"name": run.vocabulary.name, "attribution": ""})
            size += file.tell()
    _write_page(run, store, {key: top for _, key, top, _ in layers})
    return StaticSite(count, size)


def _require_free(store: Store) -> None:
    held = next(store.keys(""), None)
    if held is not None and not store.exists(SITE):
        raise OutputError(
            public_url(store.root), "the folder is not empty", "Name a new or an empty folder"
        )


def _write_page(run: ViewedRun, store: Store, archives: dict[str, int]) -> None:
    described = run.to_dict()
    described["has"] |= {"embeddings": False, "series": False}
    site = {"runs": [described], "basemap": None, "archives": archives}
    for name, (content, _) in page_files().items():
        if name != "index.html":
            store.write(f"static/{name}", content)
    # A header cannot be set everywhere; of a page's own policy, this is left out by browsers.
    policy = content_policy().replace("; frame-ancestors 'none'", "")
    tag = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    page = page_files()["index.html"][0].decode()
    page = page.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n  {tag}')
    page = page.replace("<body>", f'<body data-site="{SITE}">')
    store.write(SITE, json.dumps(site, ensure_ascii=False).encode())
    store.write("index.html", page.encode())  # last: then all is there that it asks for


def _highest_zoom(run: ViewedRun) -> int:
    """The lowest zoom whose pixels are as fine as the map's."""
    lon, lat = run.bbox[0], (run.bbox[1] + run.bbox[3]) / 2
    for z in range(HIGHEST_ZOOM):
        if MapTile.at(lon, lat, z).ground <= _FINEST:
            return z
    return HIGHEST_ZOOM


def _tiles_of(run: ViewedRun, index: CellIndex, layer: str, highest: int) -> Iterator[MapTile]:
    """The tiles that touch cells with a layer, from the highest zoom down to the whole world."""
    at: set[MapTile] = set()
    for cell in run.cells:
        if layer in cell.layers:
            west, south, east, north = cell.bbox
            east = east + 360 if east < west else east
            first = MapTile.at(west, north, highest)
            # Over the antimeridian, columns go on with the first.
            last_x = int((east + 180) / 360 * 2**highest)
            last_y = MapTile.at(west, south, highest).y
            at |= {
                MapTile(highest, x % 2**highest, y)
                for x in range(first.x, last_x + 1)
                for y in range(first.y, last_y + 1)
            }
    while at:
        yield from (tile for tile in at if index.touched(tile, layer))
        at = {MapTile(tile.z - 1, tile.x // 2, tile.y // 2) for tile in at if tile.z > 0}


def _made(
    tiles: Sequence[MapTile], make: Callable[[MapTile], bytes | None]
) -> Iterator[tuple[MapTile, bytes | None]]:
    """Tiles and what is made of them, in order; some at once, so that memory stays small."""
    waiting = iter(tiles)
    with ThreadPoolExecutor(CPU_COUNT) as pool:
        while some := list(islice(waiting, 64 * CPU_COUNT)):
            yield from zip(some, pool.map(make, some), strict=True)


def _numbers_png(reader: MapTileReader, tile: MapTile) -> bytes | None:
    """Red and green: the low and the high byte of the class; blue: the confidence in percent."""
    classes, confidence = reader.read(CLASS, tile), reader.read(CONFIDENCE, tile)
    if classes is None or not classes.any():
        return None
    picture = np.zeros((TILE_SIDE, TILE_SIDE, 3), np.uint8)
    picture[..., 0], picture[..., 1] = classes[0] & 255, classes[0].astype(np.uint16) >> 8
    if confidence is not None:
        picture[..., 2] = np.where(confidence[0] == NODATA_CONFIDENCE, 0, confidence[0])
    return _png(picture)


def _true_colour_png(reader: MapTileReader, tile: MapTile) -> bytes | None:
    values = reader.read(TRUE_COLOUR, tile)
    return None if values is None or not values.any() else true_colour_png(values)


def _png(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture, "RGB").save(content, "PNG", optimize=True)
    return content.getvalue()


def _tile_id(tile: MapTile) -> int:
    found: int = zxy_to_tileid(tile.z, tile.x, tile.y)
    return found


def _header(run: ViewedRun) -> dict[str, object]:
    west, south, east, north = (round(edge * 1e7) for edge in run.bbox)
    return {
        "tile_type": TileType.PNG,
        "tile_compression": Compression.NONE,
        "min_lon_e7": west,
        "min_lat_e7": south,
        "max_lon_e7": min(east, 1_800_000_000),
        "max_lat_e7": north,
        "center_zoom": 0,
        "center_lon_e7": west,
        "center_lat_e7": south,
    }
