import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
import torch
from dask.system import CPU_COUNT
from shapely.geometry import mapping

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.encoder.preprocessing import AUTHORS
from models.encoder.throughput import count_operations
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from pipeline.catalog.item import SCL, Item
from pipeline.catalog.normalise import normalise, require_bands
from pipeline.costs.machine_rates import TYPICAL_MACHINE, MachineRates, keep_rates
from pipeline.errors import CatalogError, OutputError, RegionError, SettingsError
from pipeline.grid.cells import Cell, cells_of, owned_pixels, tiles_of
from pipeline.grid.mgrs import parse_tile
from pipeline.grid.region import Region, read_region
from pipeline.io.store import Store
from pipeline.mapping.held_plan import planned_tiles, planned_warnings
from pipeline.mapping.make_plan import make_plan, with_cost
from pipeline.mapping.plan import PLAN_KEY, Plan
from pipeline.mapping.plan_geojson import CELLS_KEY, TILES_KEY, read_cells
from pipeline.mapping.source_reading import TileReader
from pipeline.product.ledger import open_run
from pipeline.sample.archive import SampleArchive
from pipeline.settings.map import MapSettings
from tests.catalog_servers import search_named
from tests.made_card import made_card
from tests.stac_items import earth_search_item

REGION = "5.95,50.80,6.03,50.85"  # across the border of zones 31 and 32


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    config = TimeSenClipArchitecture(dim=24, depth=1, heads=3, feedforward=20, embedding_dim=12)
    torch.manual_seed(0)
    card = made_card(config, demonstration=False)
    return Checkpoint(TimeSenClipEncoder(config).eval(), card, "none", Path("tiny"))


def _settings(**fields: Any) -> MapSettings:
    return MapSettings.model_validate(
        {"region": REGION, "year": 2021, "out": "out", "classes": "a, b", **fields}
    )


def _items(*tiles: str) -> list[Item]:
    return [
        normalise(earth_search_item(tile, f"2021-{month:02d}-{day}"))
        for tile in tiles
        for month in range(1, 13)
        for day in ("05", "15", "25")
    ]


@dataclass(frozen=True)
class _Held:
    """Items in memory, as `make_plan` asks for them."""

    items: list[Item]

    def of_tile(self, tile: str) -> list[Item]:
        return [item for item in self.items if item.tile == tile]


def _plan(region: Region, items: list[Item], checkpoint: Checkpoint, **fields: Any) -> Plan:
    return make_plan(
        _settings(**fields), region, _Held(items), checkpoint, encode_rate=lambda _: 1000.0
    )


def test_numbers_add_up(checkpoint: Checkpoint) -> None:
    region = read_region(REGION)
    names = [tile.name for tile in tiles_of(region)]
    items = _items(*names)
    plan = _plan(region, items, checkpoint, cell_size=256)
    assert {tile.tile.epsg for tile in plan.tiles} == {32631, 32632}
    cells = [cell for tile in tiles_of(region) for cell in cells_of(tile, region, 256)]
    assert list(plan.cells) == cells
    assert plan.pixels == sum(int(owned_pixels(cell, region).sum()) for cell in cells)
    for tile in plan.tiles:
        assert tile.acquisitions == (3,) * 12
        assert tile.items == 36
        assert {cell.items for cell in tile.cells} == {36}
        area = sum(c.cell.height * c.cell.width * 100 for c in tile.cells)
        assert tile.read.remote_bytes == tile.read.bytes
        # Bands are read where some of a cell is clear, scene classifications always.
        reader = TileReader([cell.cell for cell in tile.cells], AUTHORS.bands)
        clear = reader.clear_share(items[0])
        assert 0.9 < clear < 1
        expected = 36 * area * (clear * (4 / 100 + 6 / 400) + 1 / 400)
        assert tile.read.composited == pytest.approx(expected)
        # Each cell lies in one block, or a few, which are decoded wholly.
        assert tile.read.windows >= 36 * (10 * clear + 1) * len(tile.cells)
        assert tile.read.values > 36 * len(tile.cells) * 11 * 1024 * 700
        assert tile.read.requests >= tile.read.windows
        assert tile.uncovered == 0
    assert plan.warnings == ()
    fastest, slowest = plan.seconds
    # Half as long as encoding at a thousand pixels a second takes, and all else beside it.
    assert plan.pixels / 1000 / 2 <= fastest < plan.pixels / 1000 < slowest
    rasters = sum(tile.read.remote_rasters for tile in plan.tiles)
    assert 36 * 10 * len(plan.tiles) < rasters < 36 * 11 * len(plan.tiles)
    assert plan.resources.requests == sum(tile.read.requests for tile in plan.tiles) + rasters
    assert plan.resources.bytes_written == pytest.approx(plan.output_bytes)
    assert plan.resources.core_seconds > plan.pixels / 1000 * CPU_COUNT
    lines = plan.summary().splitlines()
    assert lines[-2].startswith("cost           ")
    assert "(example: a server of one's own, 2026-11-28)" in lines[-2]
    assert len(lines) == 11


def test_a_demonstration_checkpoint_warns_of_any_archive_but_its_own(
    sample_archive: SampleArchive,
) -> None:
    sample = load_checkpoint("sample")
    region = read_region(REGION)
    items = _items(*(tile.name for tile in tiles_of(region)))
    (warning,) = _plan(region, items, sample).warnings
    assert "for demonstration" in warning
    own = {"url": str(sample_archive.folder)}
    assert _plan(region, items, sample, catalog=own).warnings == ()


def test_memory_of_a_worker_grows_with_cell_and_dates(checkpoint: Checkpoint) -> None:
    region = read_region("4.6,50.8,5.0,51.0")
    items = _items(*(tile.name for tile in tiles_of(region)))
    fields = {"cluster": {"threads": 2}}
    whole = _plan(region, items, checkpoint, **fields).worker_memory
    assert 0.7e9 < _plan(region, items, checkpoint, cell_size=512, **fields).worker_memory < whole
    assert _plan(region, items[::3], checkpoint, **fields).worker_memory < whole < 3e9


def test_files_open_in_a_gis_and_cells_come_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    region = read_region(REGION)
    items = _items(*(tile.name for tile in tiles_of(region)))
    plan = _plan(region, items, checkpoint, cell_size=128)
    store = Store(str(tmp_path))
    run = open_run(store, {}, {}, plan.files())
    cells = geopandas.read_file(store.path(CELLS_KEY))
    tiles = geopandas.read_file(store.path(TILES_KEY))
    assert cells.crs == tiles.crs == "EPSG:4326"
    assert cells.geometry.is_valid.all()
    assert set(cells["id"]) == {cell.id for cell in plan.cells}
    assert shapely.union_all(shapely.buffer(cells.geometry.to_numpy(), 1e-4)).covers(
        region.geometry
    )
    assert tiles["items"].tolist() == [36] * len(plan.tiles)
    assert read_cells(store, run) == list(plan.cells)
    read = planned_tiles(store, run)
    assert read is not None
    assert with_cost(read, _settings(), checkpoint, encode_rate=lambda _: 1000.0) == plan
    numbers = json.loads(store.read(PLAN_KEY))
    assert numbers["pixels"] == plan.pixels
    assert numbers["cells"] == len(plan.cells)


def test_the_antimeridian_in_the_files(checkpoint: Checkpoint, tmp_path: Path) -> None:
    region = read_region("179.98,-16.51,-179.98,-16.49")
    plan = _plan(region, _items(*(t.name for t in tiles_of(region))), checkpoint)
    run = open_run(Store(str(tmp_path)), {}, {}, plan.files())
    for key in (CELLS_KEY, TILES_KEY):
        frame = geopandas.read_file(tmp_path / key)
        assert frame.geometry.is_valid.all()
        west, _, east, _ = np.asarray(frame.total_bounds)
        assert west >= -180
        assert east <= 180
        assert frame.geometry.to_crs(6933).area.sum() < 2.5e10
    assert read_cells(Store(str(tmp_path)), run) == list(plan.cells)


def test_encoders_take_hours_of_gpus_and_the_others_of_cores(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    region, items = read_region(REGION), _items("31UGS", "32ULB")
    on_cores = _plan(region, items, checkpoint).resources
    cluster = {"kind": "slurm", "workers": 4, "encoders": 2}
    on_gpus = _plan(region, items, checkpoint, cluster=cluster)
    taken = on_gpus.resources
    assert on_cores.gpu_seconds == 0
    encoding = on_gpus.pixels / 1000 * CPU_COUNT
    assert on_cores.core_seconds - taken.core_seconds == pytest.approx(encoding)
    assert taken.gpu_seconds == pytest.approx(
        on_gpus.pixels * count_operations(checkpoint) / (2.21e6 * 151e6)
    )
    mark = checkpoint.fingerprint[:12]
    node = {
        "machine": "node",
        "measured": "2026-02-03",
        "gpu": "a card",
        "gpu_encode": {mark: 1e-4},
    }
    keep_rates(MachineRates.model_validate(TYPICAL_MACHINE.model_dump() | node))
    keep_rates(TYPICAL_MACHINE.model_copy(update={"machine": "reader", "cell": 9.0}))
    costs = {"machine": "reader,node"}
    measured = _plan(region, items, checkpoint, cluster=cluster, costs=costs)
    assert measured.resources.gpu_seconds == pytest.approx(measured.pixels * 1e-4)
    assert measured.resources.core_seconds == pytest.approx(
        taken.core_seconds
        + len(measured.cells) * (9.0 - TYPICAL_MACHINE.cell) * TYPICAL_MACHINE.held
    )
    assert "; rates of node" in measured.rates
    with pytest.raises(SettingsError, match="no rates are kept of it; they are of node, reader"):
        _plan(region, items, checkpoint, costs={"machine": "nodes"})


def test_ground_without_items_is_told(checkpoint: Checkpoint) -> None:
    region = read_region(REGION)
    plan = _plan(region, _items("31UGS"), checkpoint)
    assert {tile.items for tile in plan.tiles} == {0, 36}
    area = sum(c.pixels for t in plan.tiles if t.tile.zone == 32 for c in t.cells) * 100
    assert sum(tile.uncovered for tile in plan.tiles) == pytest.approx(area, rel=0.02)
    assert any("no item covers" in warning for warning in plan.warnings)
    assert any("32U" in warning for warning in plan.warnings)


def test_partly_covering_footprints_and_empty_months_are_told(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    region = read_region("4.6,50.8,5.0,51.0")
    (tile,) = tiles_of(region)
    published = [earth_search_item(tile.name, f"2021-{m:02d}-05") for m in range(1, 12)]
    for item in published:
        item["geometry"] = mapping(shapely.box(4.0, 50.0, 4.8, 52.0))
    plan = _plan(region, [normalise(item) for item in published], checkpoint, cell_size=1024)
    assert plan.tiles[0].uncovered == pytest.approx(0.195 / 0.4 * plan.pixels * 100, rel=0.02)
    assert plan.tiles[0].acquisitions == (*([1] * 11), 0)
    assert {cell.items for cell in plan.tiles[0].cells} == {0, 11}
    uncovered, months = plan.warnings
    assert uncovered.startswith("no item covers")
    assert "months without any acquisition (December)" in months
    store = Store(str(tmp_path))
    run = open_run(store, {}, {}, plan.files())
    assert planned_warnings(store, run) == plan.warnings
    store.write(PLAN_KEY, store.read(PLAN_KEY).replace(b"December", b"June"))
    assert planned_warnings(store, run) is None
    store.remove(PLAN_KEY)
    assert planned_warnings(store, run) is None


def test_items_that_cannot_be_used_are_told(checkpoint: Checkpoint, tmp_path: Path) -> None:
    region = read_region("4.6,50.8,4.7,50.9")
    why = CatalogError("item x", "it is malformed: its eo:cloud_cover is 'n/a'", "Correct it")
    plan = make_plan(
        *(_settings(), region, _Held(_items("31UFS")), checkpoint),
        refused=[why, why],
        encode_rate=lambda _: 1000.0,
    )
    assert any("2 of the catalogue's items cannot be used" in one for one in plan.warnings)
    open_run(Store(str(tmp_path)), {}, {}, plan.files())
    assert "item x: it is malformed" in (tmp_path / "plan" / "plan.json").read_text()


def test_items_that_lack_a_band_or_the_scene_classes_are_told(checkpoint: Checkpoint) -> None:
    region = read_region("4.6,50.8,4.7,50.9")
    items = _items("31UFS")
    assert not any("items lack" in warning for warning in _plan(region, items, checkpoint).warnings)
    for item, band in zip(items, ("B02", "B02", SCL), strict=False):
        del item.assets[band]  # type: ignore[attr-defined]
    warnings = _plan(region, items, checkpoint).warnings
    assert "2 of 36 items lack B02: it is made of the others" in warnings
    assert "1 of 36 items lack SCL: they are not used" in warnings


def test_sizes_that_no_catalogue_states(checkpoint: Checkpoint) -> None:
    published = earth_search_item()
    for asset in published["assets"].values():
        asset.pop("file:size", None)
    item = normalise(published)
    cell = Cell(parse_tile(item.tile), 1, 1, 2048, 2048, 2048, 2048)
    reader = TileReader([cell], AUTHORS.bands)
    reader.add(item, np.ones(1, bool), 1.0, 0)
    read = reader.total
    assert read.values == read.composited == 4 * 2048**2 + 7 * 1024**2
    assert read.windows == read.requests == 4 * 4 + 7
    pixels = 1.6 * (4 * 2048**2 + 6 * 1024**2) + 0.1 * 1024**2
    assert read.bytes == pytest.approx(pixels + 11 * 16384)
    small = replace(cell, height=256, width=256)
    reader = TileReader([small, cell], AUTHORS.bands)
    reader.add(item, np.array([True, False]), 0.5, 0)
    assert reader.total.values == 0.5 * 10 * 1024**2 + 1024**2  # a block of each raster
    assert reader.total.composited == 0.5 * (4 * 256**2 + 6 * 128**2) + 128**2


def test_the_encoder_is_measured_where_nothing_is_said(checkpoint: Checkpoint) -> None:
    region = read_region("4.6,50.8,4.61,50.81")
    plan = make_plan(_settings(), region, _Held(_items("31UFS")), checkpoint)
    assert plan.encode_rate > 0
    assert "tiles          1: 31UES" in plan.summary() or "31UFS" in plan.summary()


def test_a_region_smaller_than_a_pixel(checkpoint: Checkpoint) -> None:
    with pytest.raises(RegionError, match="smaller than a pixel"):
        _plan(read_region("4.60001,50.80001,4.60002,50.80002"), [], checkpoint)


def test_no_plan_to_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    run = open_run(store, {}, {}, {CELLS_KEY: b'{"features": [{"properties": {}}]}'})
    with pytest.raises(OutputError, match="no plan"):
        read_cells(store, run)
    store.write(CELLS_KEY, b'{"features": []}')
    with pytest.raises(OutputError, match=r"cells\.geojson: the file is changed"):
        read_cells(store, run)
    store.remove(CELLS_KEY)
    with pytest.raises(OutputError, match=r"cells\.geojson: the file is gone"):
        read_cells(store, run)


@pytest.mark.parametrize("over_http", [False, True])
def test_from_the_sample_archive_to_a_plan(
    sample_archive: SampleArchive,
    http_server: Callable[[Path], str],
    checkpoint: Checkpoint,
    tmp_path: Path,
    over_http: bool,
) -> None:
    root = Path(sample_archive.folder)
    url = f"{http_server(root)}/catalog.json" if over_http else str(root)
    region = read_region(str(sample_archive.region))
    settings = _settings(year=sample_archive.year, catalog={"url": url})
    store = Store(str(tmp_path))
    items = search_named(region, settings).items
    require_bands(items, AUTHORS.bands)
    plan = make_plan(settings, region, _Held(items), checkpoint, encode_rate=lambda _: 1000.0)
    assert len(plan.tiles) == 4
    assert all(tile.items > 0 for tile in plan.tiles)
    assert sum(tile.uncovered for tile in plan.tiles) < 1e4
    for item in items:
        for asset in item.assets.values():
            assert asset.href.startswith("http://") is over_http
    run = open_run(store, {}, {}, plan.files())
    assert read_cells(store, run) == list(plan.cells)
    read = planned_tiles(store, run)
    assert read is not None
    assert with_cost(read, _settings(), checkpoint, encode_rate=lambda _: 1000.0) == plan
