"""A question as files that `timesen classify` takes: its classes, and the clicked pixels."""

import json
from typing import Any

from models.errors import UserError
from models.vocabulary.vocabulary import Vocabulary, vocabulary_from_words
from pipeline.viewer.questions import Question


def saved_vocabulary(question: Question, own: Vocabulary) -> bytes:
    """The TOML of a vocabulary of the question's words, or of the run's own classes.

    Raises UserError where the words are none, VocabularyError where they are less than two.
    """
    if question.like is not None:
        raise UserError("this question", "a pixel has no words", "Ask for two or more words")
    vocabulary = vocabulary_from_words(question.words) if question.words.strip() else own
    fields = vocabulary.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    if question.words.strip():  # a map finds colours by meaning, if none are written
        for entry in fields["classes"]:
            del entry["colour"]
    return _toml(fields).encode()


def saved_examples(question: Question, own: Vocabulary) -> bytes:
    """GeoJSON of the pixels that are examples of a class; what is none of a class is left out.

    Raises UserError where there are none.
    """
    known = {entry.name for entry in own.classes}
    if question.words.strip():
        known = {entry.name for entry in vocabulary_from_words(question.words).classes}
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [one.lon, one.lat]},
            "properties": {"class": one.name},
        }
        for one in question.clicked
        if one.right and one.name in known
    ]
    if not features:
        raise UserError("this question", "it has no examples of classes", "Click some pixels")
    collection = {"type": "FeatureCollection", "features": features}
    return json.dumps(collection, ensure_ascii=False, indent=1).encode()


def _toml(fields: dict[str, Any]) -> str:
    """A vocabulary's fields in TOML: plain ones first, then tables of classes and parents."""
    lines = [f"{key} = {_value(each)}" for key, each in fields.items() if not _is_tables(each)]
    for key, tables in fields.items():
        for table in tables if _is_tables(tables) else ():
            lines += [
                "",
                f"[[{key}]]",
                *(f"{name} = {_value(each)}" for name, each in table.items()),
            ]
    return "\n".join(lines) + "\n"


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: Any) -> str:
    # JSON's texts, numbers, truths and lists are TOML's, but for DEL, which no name holds.
    return json.dumps(value, ensure_ascii=False)
