"""A CLIP image tower with random weights, and photos, for tests without a network."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

DIM = 12


def save_tiny_clip(folder: Path, seed: int = 11) -> str:
    """Save a tower as transformers does; return its spec."""
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=DIM,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return f"clip:{folder}"


def photo(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """Make a photo of large random patches, which JPEG keeps well."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image) -> bytes:
    """Encode the image as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()
