"""Vocabularies: TOML files, classes in words, and those kept in a run's folder."""

import random
import tomllib
from pathlib import Path

from models.vocabulary.labels import match_labels
from models.vocabulary.prompts import sentences
from models.vocabulary.vocabulary import (
    Vocabulary,
    load_vocabulary,
    make_vocabulary,
    shipped_vocabularies,
    vocabulary_from_words,
)
from pipeline.product.cog_writer import categories_xml
from pipeline.product.qgis_styles import class_style
from pipeline.product.stac_classes import stac_classes
from tests.fuzz.mutate import TEXTS, changed_bytes, changed_document, to_toml
from tests.fuzz.target import Files, Target, Wrong

_FILE, _WORDS = "vocabulary.toml", "words.txt"
_SOME_WORDS = (
    "wheat field, forest, lake",
    "cropland, other: forest | water | town",
    "forest | water, lake: blue lake",
)
_LONGEST = 20_000  # bytes of a shipped file that is changed: larger ones are slow to read
_ROOT = Path(__file__).parents[3] / "models" / "vocabularies"


class Vocabularies(Target):
    """A file or words, and all that a run writes of their classes."""

    name = "vocabularies"

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._texts = [path.read_bytes() for path in sorted(seeds.glob("*.toml"))]
        self._raw = [tomllib.loads(text.decode()) for text in self._texts]

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        for name in shipped_vocabularies():
            content = (_ROOT / f"{name}.toml").read_bytes()
            if len(content) < _LONGEST:
                (folder / f"{name}.toml").write_bytes(content)

    def make(self, draw: random.Random) -> Files:
        kind = draw.randrange(10)
        if kind < 6:
            raw = changed_document(draw.choice(self._raw), draw, self._raw)
            return {_FILE: to_toml(raw if isinstance(raw, dict) else {"classes": raw})}
        if kind < 8:
            return {_FILE: changed_bytes(draw.choice(self._texts), draw, self._texts)}
        words = draw.choice(_SOME_WORDS)
        for _ in range(draw.randint(1, 3)):
            place = draw.randint(0, len(words))
            words = words[:place] + draw.choice((*TEXTS, ",", "|", ":", ", ,")) + words[place:]
        return {_WORDS: words.encode("utf-8", "surrogatepass")}

    def read(self, files: Files) -> None:
        if _WORDS in files:
            vocabulary = vocabulary_from_words(files[_WORDS].decode("utf-8", "surrogatepass"))
        else:
            vocabulary = load_vocabulary(self.write(files) / _FILE)
        self._use(vocabulary)

    def _use(self, vocabulary: Vocabulary) -> None:
        again = make_vocabulary(Vocabulary.model_validate_json(vocabulary.model_dump_json())
                                .model_dump(), "again")  # fmt: skip
        if again != vocabulary or again.identity != vocabulary.identity:
            raise Wrong("a kept vocabulary is not that which was read")
        highest = max(entry.value for entry in vocabulary.legend)
        if highest > vocabulary.none_value:
            raise Wrong("a value that the raster cannot hold")
        stac_classes(vocabulary)
        class_style(vocabulary).encode()
        categories_xml({entry.value: entry.name for entry in vocabulary.legend}).encode()
        for entry in vocabulary.classes:
            for text in sentences(entry.phrases, vocabulary.templates):
                text.encode()
        names = [entry.name for entry in vocabulary.classes]
        match_labels(names, vocabulary)
