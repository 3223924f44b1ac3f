"""CLIP's image tower: photos → unit vectors, in the space of its text tower."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from models.encoder.inference import device_at_hand
from models.errors import UserError
from models.towers.clip_sizes import WEIGHTS
from models.towers.clip_weights import ClipHalf, load_half, pretrained_half, quiet

if TYPE_CHECKING:
    from PIL.Image import Image

_KINDS = "Known are clip:HUB-ID (e.g. clip:openai/clip-vit-base-patch32) and clip:FOLDER"


class ClipImageTower:
    """CLIP's image tower with its projection, from the Hugging Face hub or a local folder.

    It runs on the GPU of this process where there is one. Only safetensors weights are read, never
    pickles. `name` is the spec, `revision` identifies the weights, `dim` is the length of an
    embedding.

    Args:
        spec: clip:HUB-ID or clip:FOLDER.
        revision: As for `models.towers.text_tower.load_text_tower`.

    Raises:
        UserError: The folder or repository has no such weights.
        WorldError: The hub cannot be reached.
    """

    def __init__(self, spec: str, revision: str | None = None) -> None:
        kind, _, place = spec.partition(":")
        if kind != "clip" or not place:
            raise UserError(f"image tower {spec!r}", "no such image tower", _KINDS)
        self._processor, model, self.revision = load_half(_HALF, place, revision)
        self.name = spec
        self.dim: int = model.config.projection_dim
        self._device = device_at_hand()
        self._model = model.to(self._device)

    @torch.inference_mode()
    def embed(self, photos: Sequence["Image"]) -> np.ndarray:
        """Unit-length embeddings of photos, all at once: float32 (n, dim).

        Photos are of mode RGB and of any size; each is scaled, cut and normalised as CLIP's own
        preprocessing says.
        """
        if not photos:
            return np.empty((0, self.dim), np.float32)
        pixels = self._processor(images=list(photos), return_tensors="pt")["pixel_values"]
        embeddings = self._model(pixel_values=pixels.to(self._device)).image_embeds
        unit: np.ndarray = F.normalize(embeddings.float(), dim=-1).cpu().numpy()
        return unit


def _load(place: str, label: str, **options: Any) -> tuple[Any, Any]:
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    with quiet():
        processor = CLIPImageProcessorPil.from_pretrained(place, **options)
        model = pretrained_half(CLIPVisionModelWithProjection, place, label, "image", **options)
    return processor, model


_HALF = ClipHalf(
    "image tower",
    _KINDS,
    {
        "config.json": ("config.json",),
        "safetensors weights": WEIGHTS,
        "image processor": ("preprocessor_config.json", "processor_config.json"),
    },
    _load,
)
