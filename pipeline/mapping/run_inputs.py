"""What a run is made of, in a few lines: the checkpoint, the classes, the catalogue, the period."""

import re
from calendar import month_name
from textwrap import shorten

from models.encoder.card import Card
from models.vocabulary.vocabulary import Vocabulary
from pipeline.io.store import public_url
from pipeline.mapping.plan import listed
from pipeline.mapping.run import PreparedRun
from pipeline.settings.map import MapSettings

_STEPS = {12: "month", 4: "season", 1: "year"}
_WIDTH = 160  # signs of a sentence


def run_inputs(prepared: PreparedRun) -> str:
    """What the user should see before the run is computed, one line each."""
    run, catalog = prepared.run, prepared.catalog
    source = f"{public_url(catalog.url)}, collection {catalog.collection}"
    if run.settings.embeddings is not None:
        source = f"none is read: the embeddings of {public_url(run.settings.embeddings)}"
    rows = {
        "checkpoint": _checkpoint(run.card),
        "classes": _classes(run.vocabulary, run.settings),
        "catalogue": source,
        "period": _period(run.settings),
    }
    return "\n".join(f"{name:<15}{text}" for name, text in rows.items())


def _checkpoint(card: Card) -> str:
    """Its name, and the first sentence of what its card says of its training."""
    first = re.split(r"(?<=\.)\s", " ".join(card.description.split()), maxsplit=1)[0]
    name = f"{card.name} (for demonstration)" if card.demonstration else card.name
    return f"{name}: {shorten(first, _WIDTH, placeholder=' …')}" if first else name


def _classes(vocabulary: Vocabulary, settings: MapSettings) -> str:
    names = [entry.name for entry in vocabulary.legend]
    text = f"{len(names)}: {listed(names)}"
    if settings.vocabulary is not None:
        text += f" (vocabulary {vocabulary.name})"
    return text


def _period(settings: MapSettings) -> str:
    first, last = settings.first_month, (settings.first_month + 10) % 12 + 1
    begin = f" {settings.year}" if last < first else ""
    end = settings.year + (last < first)
    median = "geometric median" if settings.reading.geometric else "median"
    step = f"the {median} of each {_STEPS[settings.steps]}"
    return f"{month_name[first]}{begin} to {month_name[last]} {end}: {step}"
