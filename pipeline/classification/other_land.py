"""Land that is none of a map's classes: pixels that are nearer to other words than to the map's.

A word always finds land: of "vineyard, orchard, forest", one is the nearest on a lake, too. So each
pixel is compared with the classes of a general vocabulary as well, as far as no word of the map
stands for them. Where one of these is nearer than every word of the map, the pixel is counted. The
map does not change.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from models.encoder.card import Card
from models.towers.text_embeddings import TextEmbeddings, embed_for_checkpoint
from models.vocabulary.vocabulary import Vocabulary, load_vocabulary
from pipeline.classification.class_scores import AT_ONCE, ClassTexts

GENERAL = "esa-worldcover"
"""The general vocabulary: its classes divide all land."""
_ALIKE = 0.05  # a word stands for the general class with the nearest text, and for others as near
_NONE = 255


@dataclass(frozen=True, eq=False)
class OtherLand:
    """The classes of the general vocabulary that no word of a map stands for.

    Attributes:
        names: Their names.
        texts: float32 (text, dim), unit length: the texts of their members.
        class_index: int64 (text,), the class of each, ascending from 0.
    """

    names: tuple[str, ...]
    texts: np.ndarray
    class_index: np.ndarray

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors of a file; `names` is JSON in UTF-8."""
        names = np.frombuffer(json.dumps(self.names).encode(), np.uint8)
        return {"names": names, "texts": self.texts, "class_index": self.class_index}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> "OtherLand":
        """What `tensors` gave."""
        names = tuple(json.loads(tensors["names"].tobytes()))
        return cls(names, tensors["texts"], tensors["class_index"])


def other_land(text: TextEmbeddings, card: Card) -> OtherLand | None:
    """What the words of a map leave out; None where they stand for all land.

    A word, also one of the background, stands for the general class whose text is nearest to its
    own, and for those that are nearly as near.

    Args:
        text: The text embeddings of the map's words.
        card: The checkpoint's card. Raises as `embed_for_checkpoint`.
    """
    general = load_vocabulary(GENERAL)
    return _left_out(text, general, embed_for_checkpoint(general, card))


def _left_out(
    text: TextEmbeddings, general: Vocabulary, general_text: TextEmbeddings
) -> OtherLand | None:
    words, _ = text.with_background()
    near = general_text.cosines(words)
    meant = (near >= near.max(axis=1, keepdims=True) - _ALIKE).any(axis=0)
    others = np.flatnonzero(~meant)
    if not len(others):
        return None
    kept = np.isin(general_text.class_index, others)
    return OtherLand(
        tuple(general.classes[place].name for place in others),
        general_text.members[kept],
        np.searchsorted(others, general_text.class_index[kept]),
    )


class OtherLandFinder:
    """Finds pixels of other land, on a device."""

    def __init__(self, other: OtherLand, own: ClassTexts, device: torch.device) -> None:
        """`own` are the texts of the map's words, on the device."""
        self._names, self._own = other.names, own
        self._others = ClassTexts.on_device(other.texts, other.class_index, device)

    @torch.inference_mode()
    def places(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The place in `OtherLand.names` of each pixel's land, 255 where no other land is nearer.

        Args:
            embeddings: float (pixel, dim), unit length; one that is not a number is no other land.

        Returns:
            uint8 (pixel,), on the embeddings' device.
        """
        nearest, place = self._others.cosines(embeddings, 0, len(self._others)).max(dim=1)
        for first in range(0, len(self._own), AT_ONCE):
            end = min(first + AT_ONCE, len(self._own))
            own = self._own.cosines(embeddings, first, end).amax(dim=1)
            place = torch.where(nearest > own, place, _NONE)
        return place.to(torch.uint8)

    def count(self, places: np.ndarray, values: np.ndarray) -> Counter[tuple[int, str]]:
        """Pixels of other land by the value on the map and the name of the land.

        Args:
            places: uint8 (pixel,), as `places` gives them.
            values: (pixel,), the values on the map.
        """
        other = places != _NONE
        pairs = np.stack((values[other].astype(np.int64), places[other].astype(np.int64)), axis=1)
        found, counts = np.unique(pairs, axis=0, return_counts=True)
        return Counter(
            {
                (int(value), self._names[place]): int(count)
                for (value, place), count in zip(found, counts, strict=True)
            }
        )
