"""Embeddings × text embeddings → class and confidence."""

import numpy as np
import torch


@torch.inference_mode()
def classify(
    embeddings: torch.Tensor, text: torch.Tensor, logit_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest class of each embedding and how sure it is.

    `embeddings` float (pixel, dim) and `text` float (class, dim), both of unit length and on one
    device. Returns the class index (0-based) int64 (pixel,) and the confidence uint8 (pixel,) in
    percent: the softmax over classes of logit_scale × cosine, as CLIP's (Radford et al. 2021).
    """
    cosine = embeddings @ text.T
    best, index = cosine.max(dim=1)
    confidence = 1.0 / torch.exp(logit_scale * (cosine - best[:, None])).sum(dim=1)
    percent = (confidence * 100).round().clamp(0, 100).to(torch.uint8)
    return index.cpu().numpy(), percent.cpu().numpy()
