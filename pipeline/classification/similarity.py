"""Similarity maps: the cosine of a run's embeddings to a text, or to the embedding of a pixel."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from affine import Affine

from models.encoder.inference import device_at_hand, one_core_per_thread
from models.encoder.quantised_embeddings import restored
from pipeline.classification.embedding_files import (
    embedding_blocks,
    embedding_rows,
    read_embeddings,
)
from pipeline.errors import OutputError, RegionError
from pipeline.grid.places import Places
from pipeline.io.store import Store, public_url
from pipeline.layout import cell_key
from pipeline.product.cell_report import PREFIX
from pipeline.product.cog_writer import cog_bytes
from pipeline.product.committed_cells import mapped_items
from pipeline.product.layers import SIMILARITY, SIMILARITY_SCALE
from pipeline.product.ledger import read_run
from pipeline.product.manifest import RunManifest
from pipeline.product.mosaic import write_mosaic
from pipeline.product.qgis_styles import similarity_style

_BINS = SIMILARITY_SCALE + 1
_NODATA = int(SIMILARITY.nodata or 0)


@dataclass(frozen=True)
class EmbeddedRun:
    """A run that kept embeddings: its folder, its manifest, and the items of its finished cells."""

    store: Store
    manifest: RunManifest
    items: tuple[Mapping[str, Any], ...]


def open_embedded_run(folder: str) -> EmbeddedRun:
    """Open the run in a folder.

    Raises OutputError if there is none, it has no embeddings yet, or an item is damaged.
    """
    store = Store(folder)
    manifest = read_run(store)
    items = tuple(mapped_items(store, manifest))
    with_embeddings = tuple(item for item in items if embedding_blocks(item))
    if not with_embeddings:
        what = "no cell is finished yet" if not items else "the run kept no embeddings"
        raise OutputError(public_url(store.root), what, "Map with keep_embeddings, then query")
    return EmbeddedRun(store, manifest, with_embeddings)


def embeddings_at(run: EmbeddedRun, places: Places) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of the pixels that hold places, read block by block.

    Returns:
        float32 (n, dim), unit length, 0 where there is none; and bool (n,), the places that lie in
        a finished cell.

    Raises:
        OutputError: A file of embeddings is damaged.
    """
    inside = np.zeros(len(places), bool)
    found: np.ndarray | None = None
    for item in run.items:
        properties = item["properties"]
        points, rows, columns = places.in_grid(
            int(properties["proj:code"].removeprefix("EPSG:")),
            Affine(*properties["proj:transform"][:6]),
            tuple(properties["proj:shape"]),
        )
        inside[points] = True
        for block, name in embedding_blocks(item) if len(points) else ():
            y, x = rows - block.row, columns - block.column
            within = (y >= 0) & (y < block.height) & (x >= 0) & (x < block.width)
            if not within.any():
                continue
            dim = None if found is None else found.shape[1]
            stored = read_embeddings(run.store, _key(item, name), block, dim)
            stored = stored[:, y[within], x[within]].T
            if found is None:
                found = np.zeros((len(places), stored.shape[1]), np.float32)
            # Where cells of two zones cover a place, only the cell that owns it has an embedding.
            valid = stored.any(axis=1)
            restored_values = restored(torch.from_numpy(np.ascontiguousarray(stored[valid])))
            found[points[within][valid]] = restored_values.numpy()
    return np.zeros((len(places), 0), np.float32) if found is None else found, inside


def embedding_at(run: EmbeddedRun, lon: float, lat: float) -> np.ndarray:
    """The embedding of the pixel that holds a place (degrees, WGS 84): float32 (dim,).

    Raises RegionError where the run has no embedding there.
    """
    embedding: np.ndarray = embeddings_at(run, Places(np.array([lon]), np.array([lat])))[0][0]
    if not embedding.any():
        raise RegionError(
            f"{lon},{lat}", "the run has no embedding of this place", "Give LON,LAT within the map"
        )
    return embedding


def write_similarity(
    run: EmbeddedRun, item: Mapping[str, Any], target: np.ndarray, out: Store
) -> np.ndarray:
    """Write the similarity of a cell's pixels to `target`, float32 (dim,), as a COG.

    The COG is uint16: the cosine × `SIMILARITY_SCALE`, below 0 as 0, 65535 = nodata. Pixels whose
    embedding is not a number are nodata.

    Returns:
        The number of pixels of each value: int64 (SIMILARITY_SCALE + 1,).
    """
    properties, values = item["properties"], cell_similarities(run, item, target)
    content = cog_bytes(
        values,
        Affine(*properties["proj:transform"][:6]),
        int(properties["proj:code"].removeprefix("EPSG:")),
        _NODATA,
        description=SIMILARITY.title,
        overview=SIMILARITY.overview,
        tags={"TIFFTAG_COPYRIGHT": run.manifest.attribution.replace("–", "-")},
    )
    out.write(_key(item, SIMILARITY.file), content)
    return np.bincount(values[values != _NODATA], minlength=_BINS)


def cell_similarities(run: EmbeddedRun, item: Mapping[str, Any], target: np.ndarray) -> np.ndarray:
    """The values that `write_similarity` writes of a cell: uint16 (y, x).

    Raises OutputError where a file of embeddings is damaged.
    """
    on_device = torch.from_numpy(target).to(device_at_hand())
    values = np.full(item["properties"]["proj:shape"], _NODATA, np.uint16)
    one_core_per_thread()
    for block, name in embedding_blocks(item):
        stored = read_embeddings(run.store, _key(item, name), block, len(target))
        values[block.slices()] = similarities(stored, on_device)
    return values


@torch.inference_mode()
def similarities(stored: np.ndarray, target: torch.Tensor) -> np.ndarray:
    """The values of `cell_similarities`, (y, x), of stored embeddings, int8 (dim, y, x)."""
    values = np.full(stored.shape[1:], _NODATA, np.uint16)
    for rows, valid, embeddings in embedding_rows(stored, target.device):
        scaled = (embeddings @ target * SIMILARITY_SCALE).round().clamp(0, SIMILARITY_SCALE)
        values[rows][valid] = scaled.cpu().numpy()
    return values


def publish_similarity(
    run: EmbeddedRun, counts: np.ndarray, question: Mapping[str, Any], out: Store
) -> tuple[float, float]:
    """Write mosaic, styles and `question.json` of a similarity map.

    Args:
        run: The run whose embeddings were compared.
        counts: The sum of what `write_similarity` returned for the cells.
        question: What `question.json` says of the target.
        out: The folder of the similarity map.

    Returns:
        The cosines at the ends of the colour ramp: the 2nd and 98th percentile of the pixels.
    """
    share = np.cumsum(counts) / max(int(counts.sum()), 1)
    low, high = (int(np.searchsorted(share, edge)) for edge in (0.02, 0.98))
    high = max(high, low + 1)
    crs = run.manifest.settings.get("crs")
    write_mosaic(out, run.manifest, run.items, SIMILARITY, crs=crs)
    style = similarity_style(low, high).encode()
    for key in (SIMILARITY.style_file, *(_key(item, SIMILARITY.style_file) for item in run.items)):
        out.write(key, style)
    described = {**question, "run": run.manifest.fingerprint}
    out.write("question.json", json.dumps(described, indent=2, ensure_ascii=False).encode() + b"\n")
    return low / SIMILARITY_SCALE, high / SIMILARITY_SCALE


def _key(item: Mapping[str, Any], name: str) -> str:
    return cell_key(item["properties"][f"{PREFIX}tile"], str(item["id"]), name)
