"""The reader against a real web server: which bytes it asks for."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader
from tests.nginx import Nginx, nginx
from tests.pipeline.rasters import EPSG, LEFT, TOP, write_raster

SIDE, BLOCK = 2048, 512
SPEC = RasterSpec(EPSG, (LEFT, TOP - 10 * SIDE, LEFT + 10 * SIDE, TOP), (10, 10))
HEADER = 16384  # bytes of a COG in which its directories lie, and their answers' heads


@dataclass(frozen=True)
class Archive:
    """Noise as a COG with overviews, which does not compress; `sizes` are its blocks' bytes."""

    server: Nginx
    values: np.ndarray
    sizes: np.ndarray

    def read(self, name: str, window: Window) -> tuple[np.ndarray, int]:
        """The window's values, and how many bytes the server sent for them, heads included."""
        self.server.forget()
        faults = FaultLog()
        reader = NativeReader(
            url=f"{self.server.address}/{name}", spec=SPEC, dtype=np.dtype("uint16"), faults=faults
        )
        values = reader.read(window)
        assert not faults
        requests = self.server.requests()
        assert {(request.path, request.status) for request in requests} == {(f"/{name}", 206)}
        return values, sum(request.sent for request in requests)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder = tmp_path_factory.mktemp("noise")
    values = np.random.default_rng(0).integers(1, 10000, (SIDE, SIDE)).astype(np.uint16)
    write_raster(folder / "noise.tif", values, blocksize=BLOCK, overviews="AUTO")
    count = SIDE // BLOCK
    with rasterio.open(folder / "noise.tif") as raster:
        assert raster.overviews(1)
        sizes = np.array(
            [
                [
                    int(raster.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=1))
                    for column in range(count)
                ]
                for row in range(count)
            ]
        )
    with nginx(folder) as server:
        yield Archive(server, values, sizes)


@pytest.mark.parametrize(
    ("row", "column", "height", "width"),
    [(512, 512, 512, 512), (600, 700, 50, 60), (500, 0, 24, 512), (0, 512, 1024, 1024),
     (0, 0, SIDE, SIDE)],
    ids=["a block", "inside a block", "across two blocks", "four blocks", "all"],
)  # fmt: skip
def test_little_more_than_the_blocks_of_the_window_is_sent(
    archive: Archive, row: int, column: int, height: int, width: int
) -> None:
    rows, columns = slice(row, row + height), slice(column, column + width)
    blocks = archive.sizes[
        row // BLOCK : -(-(row + height) // BLOCK), column // BLOCK : -(-(column + width) // BLOCK)
    ]
    values, sent = archive.read("noise.tif", Window(column, row, width, height))
    np.testing.assert_array_equal(values, archive.values[rows, columns])
    assert blocks.sum() <= sent <= 1.1 * blocks.sum() + HEADER


def test_a_block_is_one_request_after_the_header(archive: Archive) -> None:
    archive.read("noise.tif", Window(0, 0, 512, 512))
    archive.read("noise.tif", Window(1024, 1024, 512, 512))
    assert len(archive.server.requests()) <= 2
