"""Embeddings as int8: the numbers that a run keeps per pixel, and a checkpoint of its training.

The stored numbers are the embedding × 127 / its largest absolute number, rounded. The error is at
most 0.004 of the largest, and the cosine to a text changes by some 1e-4. Embeddings have unit
length, so no scale is stored: divide the stored vector by its length. All zero is nodata.
"""

import torch

_LARGEST = 127


def is_valid(embeddings: torch.Tensor) -> torch.Tensor:
    """Which embeddings (pixel, dim) are finite and have a direction: bool (pixel,).

    On a GPU the encoder's products are of float16, which overflow for extreme input: then an
    embedding is not a number.
    """
    length = embeddings.norm(dim=1)
    return length.isfinite() & (length > 0)


def quantised(embeddings: torch.Tensor) -> torch.Tensor:
    """Quantise embeddings (pixel, dim) to int8 (pixel, dim); invalid ones become nodata, 0."""
    largest = embeddings.abs().amax(dim=1, keepdim=True)
    scaled = (embeddings * (_LARGEST / largest)).round()
    return torch.where(is_valid(embeddings)[:, None], scaled, 0).to(torch.int8)


def restored(stored: torch.Tensor) -> torch.Tensor:
    """Restore embeddings from int8 (pixel, dim): float32, unit length; nodata stays 0."""
    values = stored.to(torch.float32)
    length = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return values / length.clamp_min(1)
