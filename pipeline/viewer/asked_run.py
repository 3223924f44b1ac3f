"""A run of which words are asked: its embeddings, sampled for tiles, and the answers so far."""

import hashlib
import threading
from collections import OrderedDict
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as load_tensors

from models.encoder.checkpoint import Checkpoint
from models.encoder.inference import one_core_per_thread
from models.encoder.quantised_embeddings import restored
from models.errors import TimesenError, UserError
from models.towers.text_embeddings import TextEmbeddings, embed_for_checkpoint
from models.visible_text import visible_text
from models.vocabulary.vocabulary import Vocabulary, vocabulary_from_words
from pipeline.classification.asked_words import asked_embedding, run_checkpoint
from pipeline.classification.classify import make_classifier
from pipeline.classification.word_colours import with_colours_of_meaning
from pipeline.errors import OutputError, RegionError
from pipeline.io.store import public_url
from pipeline.layout import TEXT_FILE
from pipeline.product.layers import EMBEDDINGS, NODATA_CLASS
from pipeline.product.manifest import read_planned
from pipeline.viewer.map_tiles import TILE_SIDE, CellIndex, MapTile, pixels_in_cell
from pipeline.viewer.questions import (
    Answer,
    ClassAnswer,
    HeatAnswer,
    Question,
    heat_answer,
    with_clicks,
)
from pipeline.viewer.stored_embeddings import StoredEmbeddings
from pipeline.viewer.tile_pictures import HEAT_COLOURS, class_png, heat_png
from pipeline.viewer.viewed_run import ViewedRun, open_viewed_run
from pipeline.viewer.zone_gaps import close_gaps

_ANSWERS = 64
_TOP = 4  # classes that are shown of a pixel
_MOST_PARTS = 40  # internal tiles of 6 MB that a tile is made of: more take over half a second
_COARSEST = 16.0  # metres a side of a tile's pixel where a run has more of them
_SAMPLED_PARTS, _SAMPLED_EVERY = 8, 8
_CPU = torch.device("cpu")


def embedded_run(run: ViewedRun) -> ViewedRun | None:
    """The run whose embeddings can be asked: the run itself, or the one that it classifies."""
    if run.has(EMBEDDINGS):
        return run
    if source := run.manifest.settings.get("embeddings"):
        with suppress(TimesenError):
            found = open_viewed_run(str(source))
            return found if found.has(EMBEDDINGS) else None
    return None


class AskedRun:
    """Answers questions about a run's embeddings; several threads may ask at once."""

    def __init__(self, run: ViewedRun, own: ViewedRun | None = None) -> None:
        """Ask a run with embeddings; `own` is the run whose classes are shown, if it is another."""
        self._run, self._own = run, own or run
        self._index = CellIndex(run.cells)
        self._stored = StoredEmbeddings(run.store, run.items)
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()
        one_core_per_thread()  # tiles are made side by side

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return run_checkpoint(self._run.store, self._run.manifest)

    @cached_property
    def _sample(self) -> torch.Tensor:
        """Embeddings of some pixels of the run: float32 (n, dim)."""
        cells = [cell for cell in self._run.cells if EMBEDDINGS.name in cell.layers]
        chosen = cells[:: max(1, len(cells) // _SAMPLED_PARTS)][:_SAMPLED_PARTS]
        parts = []
        for cell in chosen:
            of_cell = list(self._stored.parts_of(cell.id))
            values = self._stored.read(of_cell[len(of_cell) // 2])[::_SAMPLED_EVERY]
            parts.append(values[values.any(axis=1)])
        sample = np.concatenate(parts)
        if not len(sample):
            raise OutputError(
                public_url(self._run.store.root), "its embeddings are empty", "Map it again"
            )
        return restored(torch.from_numpy(sample))

    def warm_up(self) -> None:
        """Load what the first question needs: the text tower takes seconds."""
        with suppress(TimesenError):
            asked_embedding(self._checkpoint, "land")
            assert len(self._sample)

    @torch.inference_mode()
    def ask(self, question: Question) -> dict[str, Any]:
        """Answer a question: its id, by which tiles are asked for, and its legend.

        Raises:
            UserError: The words are none, or a place has no embedding.
            TimesenError: The checkpoint or its text tower is not there, or a file is damaged.
        """
        # A browser keeps tiles by it: of another run, it is another.
        asked = f"{self._run.version} {self._own.version} {question.model_dump_json()}"
        key = hashlib.sha256(asked.encode()).hexdigest()[:16]
        with self._lock:
            if (answer := self._answers.get(key)) is None:
                answer = self._answers[key] = self._answer(question)
                while len(self._answers) > _ANSWERS:
                    self._answers.popitem(last=False)
        return {"id": key, "lowest_zoom": self._lowest_zoom, **_described(answer)}

    def answer(self, key: str) -> Answer:
        """An answer that was given; raises UserError where it is forgotten."""
        if (answer := self._answers.get(key)) is None:
            raise UserError("this question", "its answer is forgotten", "Ask it again")
        return answer

    def _answer(self, question: Question) -> Answer:
        clicked, right = self._embedded_clicks(question), [one.right for one in question.clicked]
        words = [word.strip() for word in question.words.split(",") if word.strip()]
        if question.like is not None or len(words) == 1:
            if question.like is not None:
                target = self._embedding_at(*question.like)
            else:
                target = asked_embedding(self._checkpoint, words[0])
            return heat_answer(target, self._sample, clicked, right)
        vocabulary, text = self._classes(question.words) if words else self._own_classes()
        classifier = make_classifier(vocabulary, text, self._logit_scale(vocabulary), _CPU)
        if question.clicked:
            names = [entry.name for entry in vocabulary.classes]
            classes = [_place_of(one.name, names) for one in question.clicked]
            classifier = with_clicks(classifier, self._sample, clicked, classes, right)
        return ClassAnswer(vocabulary, classifier)

    def _classes(self, words: str) -> tuple[Vocabulary, TextEmbeddings]:
        vocabulary, card = vocabulary_from_words(words), self._checkpoint.card
        text = embed_for_checkpoint(vocabulary, card)
        return with_colours_of_meaning(vocabulary, text, card), text

    def _own_classes(self) -> tuple[Vocabulary, TextEmbeddings]:
        content = read_planned(self._own.store, self._own.manifest, TEXT_FILE)
        return self._own.vocabulary, TextEmbeddings.from_tensors(load_tensors(content))

    def _logit_scale(self, vocabulary: Vocabulary) -> float:
        steps = int(self._run.manifest.settings.get("steps", 12))
        return self._checkpoint.card.logit_scale_of(vocabulary.identity, steps)

    def _embedded_clicks(self, question: Question) -> torch.Tensor:
        found = [self._embedding_at(one.lon, one.lat) for one in question.clicked]
        return torch.from_numpy(np.stack(found)) if found else torch.zeros(0, 1)

    def _embedding_at(self, lon: float, lat: float) -> np.ndarray:
        for cell, row, column in self._run.cell_at(lon, lat, EMBEDDINGS):
            at = np.array([row]), np.array([column])
            for part, _, places in self._stored.parts_at(cell.id, *at):
                stored = self._stored.read(part)[places]
                if stored.any():
                    found: np.ndarray = restored(torch.from_numpy(stored))[0].numpy()
                    return found
        raise RegionError(
            f"{lon:.5f},{lat:.5f}", "the run has no embedding of this place", "Click on the map"
        )

    @torch.inference_mode()
    def at(self, answer: Answer, lon: float, lat: float) -> dict[str, Any]:
        """What an answer says of the pixel that holds a place, as plain JSON values."""
        try:
            embedding = torch.from_numpy(self._embedding_at(lon, lat))[None]
        except RegionError:
            embedding = None
        if isinstance(answer, HeatAnswer):
            similarity = None if embedding is None else float(answer.values(embedding)[0])
            return {"kind": "heat", "similarity": similarity}
        legend = {entry.value: entry for entry in answer.vocabulary.legend}
        top = []
        if embedding is not None:
            found = answer.classifier.classify(embedding, min(_TOP, len(legend)))
            values = answer.classifier.values[found.place[0].numpy()].tolist()
            for value, share in zip(values, found.percent[0].tolist(), strict=True):
                name, colour = visible_text(legend[value].name), legend[value].colour
                top.append({"name": name, "colour": colour, "value": value, "percent": share})
        return {"kind": "classes", "top": top}

    @cached_property
    def _lowest_zoom(self) -> int:
        """The zoom from which on tiles can be made at once."""
        if self._stored.part_count <= _MOST_PARTS:
            return 0
        _, south, _, north = self._run.bbox
        at_equator = 2 * np.pi * 6378137 / TILE_SIDE * np.cos(np.radians((south + north) / 2))
        return int(np.ceil(np.log2(at_equator / _COARSEST)))

    @torch.inference_mode()
    def tile(self, answer: Answer, tile: MapTile, only: frozenset[int] = frozenset()) -> bytes:
        """The PNG of a tile of an answer; of classes, `only` some are shown if any are named.

        Raises OutputUnreadable where a file of embeddings cannot be read.
        """
        values = self.tile_values(answer, tile)
        if isinstance(answer, HeatAnswer):
            return heat_png(values, answer.low, answer.high)
        return class_png(values, answer.vocabulary.legend, only)

    def tile_values(self, answer: Answer, tile: MapTile) -> np.ndarray:
        """The numbers of a tile's pixels, (256, 256): float32 or uint16, NaN or 0 for nodata."""
        nothing = np.nan if isinstance(answer, HeatAnswer) else NODATA_CLASS
        dtype = np.float32 if isinstance(answer, HeatAnswer) else np.uint16
        values = np.full(TILE_SIDE * TILE_SIDE, nothing, dtype)
        cells = self._index.touched(tile, EMBEDDINGS.name)
        seen = {cell.epsg: np.zeros(len(values), bool) for cell in cells}
        parts = [
            (cell.epsg, part, pixels[of], places)
            for cell in cells
            for pixels, rows, columns in [pixels_in_cell(tile, cell)]
            for part, of, places in self._stored.parts_at(cell.id, rows, columns)
        ]
        if not parts or len(parts) > _MOST_PARTS:
            return values.reshape(TILE_SIDE, TILE_SIDE)
        for epsg, part, pixels, places in parts:
            stored = self._stored.read(part)
            once, again = np.unique(places, return_inverse=True)  # near, a pixel shows many times
            numbers = stored[once]
            valid = numbers.any(axis=1)
            if valid.any():
                found = np.full(len(once), nothing, dtype)
                found[valid] = answer.values(restored(torch.from_numpy(numbers[valid])))
                take = valid[again]
                values[pixels[take]] = found[again[take]]
                seen[epsg][pixels[take]] = True
        whole = values.reshape(1, TILE_SIDE, TILE_SIDE)
        close_gaps(whole, {epsg: one.reshape(whole.shape[1:]) for epsg, one in seen.items()}, tile)
        return whole[0]


def _place_of(name: str | None, names: list[str]) -> int:
    if name is None or name not in names:
        raise UserError(repr(name), "no class of this map", f"Name one of {', '.join(names)}")
    return names.index(name)


def _described(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, HeatAnswer):
        return {
            "kind": "heat",
            "low": answer.low,
            "high": answer.high,
            "colours": list(HEAT_COLOURS),
        }
    return {
        "kind": "classes",
        "legend": [
            {"value": entry.value, "name": visible_text(entry.name), "colour": entry.colour}
            for entry in answer.vocabulary.legend
        ],
    }
