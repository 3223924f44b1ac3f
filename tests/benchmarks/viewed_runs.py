"""Made runs that `bench_view` looks at: cells on the real grid, embeddings like land's."""

from pathlib import Path

import numpy as np

from models.encoder.checkpoint import load_checkpoint
from models.towers.text_embeddings import embed_for_checkpoint
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.classification.embedding_files import write_embeddings
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import cells_of, tiles_of
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.layout import VOCABULARY_FILE
from pipeline.product.cell_commit import commit_cell
from pipeline.product.ledger import open_run
from pipeline.settings.map import make_settings
from tests.pipeline.made_run import cell_rasters, result_of


def make_viewed(folder: Path, region: str, cell_size: int, kept: int = 0) -> None:
    """A run over a region; with `kept`, of embeddings of cells of so many pixels a side."""
    if (folder / "whole").exists():
        return
    vocabulary, checkpoint = load_vocabulary("sample-landscape"), load_checkpoint("sample")
    store, aoi = Store(str(folder)), read_region(region)
    settings = make_settings(
        {
            "region": region,
            "year": 2021,
            "out": str(folder),
            "vocabulary": "sample-landscape",
            "checkpoint": "sample",
            "keep_embeddings": kept > 0,
        }
    )
    parts = {"year": 2021, "checkpoint": f"sample {checkpoint.fingerprint[:12]}"}
    run = open_run(store, parts, settings.model_dump(mode="json"))
    store.write(VOCABULARY_FILE, vocabulary.model_dump_json().encode())
    cells = tuple(cell for tile in tiles_of(aoi) for cell in cells_of(tile, aoi, cell_size))
    for cell in cells:
        classes, confidence = cell_rasters(cell, region)
        assets = []
        embeddings = made_embeddings(kept) if kept else np.zeros((0, 0, 0), np.int8)
        for row in range(0, cell.height if kept else 0, 256):
            block = Block(row, 0, min(256, cell.height - row), cell.width)
            stored = np.ascontiguousarray(embeddings[block.slices()])
            assets.append(write_embeddings(store, run, vocabulary, cell, block, stored))
        result = result_of(cell, classes, confidence, 30, embeddings=assets)
        commit_cell(store, run, cell, vocabulary, result)
    (folder / "whole").touch()


def made_embeddings(side: int) -> np.ndarray:
    """Embeddings like land's: patches around the classes' texts, int8 (side, side, 384)."""
    vocabulary, card = load_vocabulary("sample-landscape"), load_checkpoint("sample").card
    texts = embed_for_checkpoint(vocabulary, card).members
    rng = np.random.default_rng(1)
    patches = rng.integers(0, len(texts), (side // 16, side // 16))
    found = np.zeros((side, side, texts.shape[1]), np.int8)
    for row in range(0, side, 64):  # floats of the whole would take gigabytes
        chosen = np.kron(patches[row // 16 : row // 16 + 4], np.ones((16, 16), int))
        values = texts[chosen] + rng.normal(0, 0.02, (64, side, texts.shape[1]))
        scale = 127 / np.abs(values).max(axis=-1, keepdims=True)
        found[row : row + 64] = (values * scale).round().astype(np.int8)
    return found
