"""An exported site: its archives hold what tiles show, and nothing of this machine."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pmtiles.reader import MmapSource, Reader

from pipeline.errors import OutputError
from pipeline.product.layers import CLASS, CONFIDENCE
from pipeline.viewer.map_tiles import MapTile
from pipeline.viewer.static_site import export_site
from pipeline.viewer.tile_reading import MapTileReader
from pipeline.viewer.viewed_run import ViewedRun


@pytest.fixture(scope="module")
def site(made: ViewedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "site"
    told: list[tuple[int, int]] = []
    written = export_site(made, str(folder), lambda done, of: told.append((done, of)))
    assert told[-1] == (written.tiles, written.tiles)
    assert written.size == sum(path.stat().st_size for path in folder.glob("*.pmtiles"))
    return folder


def test_archives_hold_the_numbers_of_tiles_at_all_zooms(site: Path, made: ViewedRun) -> None:
    reader = MapTileReader(made)
    with (site / "class.pmtiles").open("rb") as file:
        archive = Reader(MmapSource(file))
        header = archive.header()
        assert header["min_zoom"] < 6  # farther away, the region is less than a pixel
        assert header["max_zoom"] == 14
        for z in (8, 12, 14):
            tile = MapTile.at(6.0, 49.77, z)
            content = archive.get(z, tile.x, tile.y)
            picture = np.asarray(Image.open(io.BytesIO(content)))
            classes, confidence = reader.read(CLASS, tile), reader.read(CONFIDENCE, tile)
            assert classes is not None
            assert confidence is not None
            assert classes.any()
            assert np.array_equal(picture[..., 0], classes[0])
            assert not picture[..., 1].any()
            assert np.array_equal(picture[..., 2], np.where(confidence[0] == 255, 0, confidence[0]))
        assert archive.get(14, 0, 0) is None


def test_a_site_names_nothing_of_this_machine(site: Path, made: ViewedRun) -> None:
    names = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert {"index.html", "site.json", "class.pmtiles", "true-colour.pmtiles"} < names
    assert "static/maplibre-gl.js" in names
    for name in ("index.html", "site.json"):
        assert made.store.root not in (site / name).read_text()
    page = (site / "index.html").read_text()
    assert "default-src 'none'" in page
    assert '"/static' not in page, "it may lie in a folder of a server"


def test_only_an_earlier_site_is_replaced(site: Path, made: ViewedRun, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(OutputError, match="not empty"):
        export_site(made, str(tmp_path))
    before = (site / "class.pmtiles").read_bytes()
    export_site(made, str(site))
    assert (site / "class.pmtiles").read_bytes() == before
