"""The manifest of a run: its settings, its fingerprint, and the files that were planned."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from models.files.json_text import parse_json
from models.vocabulary.vocabulary import Vocabulary, make_vocabulary
from pipeline.errors import OutputError
from pipeline.io.fingerprint import as_read, fingerprint, now, software_versions
from pipeline.io.store import Store, public_text, public_url
from pipeline.layout import ITEMS_FILE, VOCABULARY_FILE


@dataclass(frozen=True)
class RunManifest:
    """A run's `run.json`.

    Attributes:
        fingerprint: The hash of `parts`.
        parts: Everything that the results depend on, the snapshot of items included.
        settings: The user's `pipeline.settings.map.MapSettings` as JSON values, URLs without
            secrets.
        versions: The software that opened the run.
        created: When it was opened, in UTC.
        files: SHA-256 (hex) of the files that were planned, by key; runs of early versions have
            none.
        extends: The fingerprints that the run had before rasters or embeddings were added to it;
            what its cells had then is the same.
    """

    fingerprint: str
    parts: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    created: str
    files: Mapping[str, str] = field(default_factory=dict)
    extends: Sequence[str] = field(default_factory=list)

    @property
    def fingerprints(self) -> frozenset[str]:
        """The run's fingerprint, and those that it had before something was added to it."""
        return frozenset({self.fingerprint, *self.extends})

    @property
    def period(self) -> tuple[datetime, datetime]:
        """The first and the last second of the twelve months, UTC; of a change, of both years."""
        year, month = int(self.settings["year"]), int(self.settings.get("first_month", 1))
        last = self.settings.get("last_year", year), self.settings.get("last_first_month", month)
        start = datetime(year, month, 1, tzinfo=UTC)
        return start, datetime(last[0] + 1, last[1], 1, tzinfo=UTC) - timedelta(seconds=1)

    @property
    def years(self) -> str:
        """The period's years in words: "2021" or "2021–2022"."""
        start, end = self.period
        return str(start.year) if start.year == end.year else f"{start.year}–{end.year}"

    @property
    def derived(self) -> Mapping[str, Any]:
        """What a run that is made of other runs was made of and how; empty for a mapped one.

        `kind` is "smoothing" or "change", `sentence` says it to people, and `layers` has titles
        and descriptions of rasters that differ from the usual.
        """
        made: Mapping[str, Any] = self.parts.get("derived") or {}
        return made

    @property
    def derived_kind(self) -> str | None:
        """Either "smoothing" or "change"; None for a run that was mapped."""
        kind = self.derived.get("kind")
        return str(kind) if kind else None

    def derived_texts(self, layer: str) -> tuple[str | None, str | None]:
        """The title and the description that a derived run has for a raster, if it has any."""
        texts = (self.derived.get("layers") or {}).get(layer) or (None, None)
        return texts[0], texts[1]

    @property
    def of_sentinel(self) -> bool:
        """Whether Sentinel data were used: items without an attribution of their own."""
        return "" in self.parts.get("attributions", [""])

    @property
    def attribution(self) -> str:
        """The notice that the terms of Sentinel data require, and the attributions of items."""
        notices = [text for text in self.parts.get("attributions", []) if text]
        if self.of_sentinel:
            notices = [f"Contains modified Copernicus Sentinel data {self.years}", *notices]
        return f"{'; '.join(notices)} processed with timesen {self.versions['timesen']}"

    @property
    def substitutes(self) -> Mapping[str, str]:
        """Bands that some item lacks → the bands that the user set in their place."""
        substitutes: Mapping[str, str] = self.parts.get("substituted", {})
        return substitutes

    @property
    def absent_bands(self) -> tuple[str, ...]:
        """Bands that some item lacks and the checkpoint does without."""
        return tuple(self.parts.get("absent bands", ()))

    def to_json(self) -> bytes:
        """The bytes of `run.json`."""
        return (json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> "RunManifest":
        """The manifest in the bytes of `run.json`; raises ValueError if there is none in them."""
        try:
            manifest = cls(**parse_json(content))
            manifest.to_json()  # raises ValueError for lone surrogates, which nothing can write
        except TypeError:
            raise ValueError("it has not the fields of one") from None
        if problem := _problem(manifest):
            raise ValueError(problem)
        return manifest


def _problem(run: RunManifest) -> str | None:
    """What is wrong with the fields of a manifest that others may have written, if anything."""
    settings, parts, versions = run.settings, run.parts, run.versions
    if not all(isinstance(each, dict) for each in (settings, parts, versions, run.files)):
        return "its settings, parts, versions or files are no objects"
    if not isinstance(run.extends, list | tuple):
        return "what it extends is no list"
    reading, year = settings.get("reading") or {}, settings.get("year")
    attributions = parts.get("attributions", [])
    texts = [run.fingerprint, run.created, versions.get("timesen"), *versions.values()]
    texts += [*run.files.values(), *run.extends]
    texts += attributions if isinstance(attributions, list) else [None]
    whole = {"year": year, **{n: settings.get(n, 1) for n in ("first_month", "steps", "top_k")}}
    whole |= {"last_year": settings.get("last_year", year)}
    whole |= {"last_first_month": settings.get("last_first_month", whole["first_month"])}
    if wrong := [name for name, value in whole.items() if type(value) is not int]:
        return f"its {wrong[0]} is no whole number"
    years, months = ("year", "last_year"), ("first_month", "last_first_month")
    if not (
        all(2015 <= whole[name] <= 2100 for name in years)
        and all(1 <= whole[name] <= 12 for name in months)
    ):
        return "its year or its first month is none"
    if problem := _derived_problem(parts.get("derived")):
        return problem
    if not isinstance(settings.get("crs"), str | None):
        return "its crs is no text"
    if not (1 <= whole["steps"] <= 12 and 1 <= whole["top_k"] <= 8):
        return "its steps or its top_k is none"
    substituted, absent = parts.get("substituted", {}), parts.get("absent bands", [])
    if not (
        isinstance(reading, dict)
        and isinstance(substituted, dict)
        and isinstance(absent, list)
        and all(isinstance(text, str) for text in (*texts, *substituted.values(), *absent))
    ):
        return "its fields are of other types"
    return None


def _derived_problem(derived: Any) -> str | None:
    """What is wrong with what a run says that it was made of, if anything."""
    if derived is None:
        return None
    if not isinstance(derived, dict) or derived.get("kind") not in ("smoothing", "change"):
        return "what it was made of is none of smoothing and change"
    layers = derived.get("layers") or {}
    texts = [derived.get("sentence")]
    if isinstance(layers, dict) and all(
        isinstance(v, list) and len(v) == 2 for v in layers.values()
    ):
        texts += [text for both in layers.values() for text in both]
        if all(isinstance(text, str) for text in texts):
            return None
    return "what it was made of is not told in texts"


def new_manifest(
    parts: Mapping[str, Any],
    settings: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> RunManifest:
    """The manifest of a run that begins now, and of its planned files."""
    return RunManifest(
        fingerprint=fingerprint(parts),
        parts=as_read(parts),
        settings=_without_secrets(dict(settings)),
        versions=software_versions(),
        created=now(),
        files={key: sha256(content) for key, content in (files or {}).items()},
    )


def read_planned(store: Store, run: RunManifest, key: str) -> bytes:
    """A file that was planned with a run; raises OutputError where it is gone or another."""
    try:
        content = store.read(key)
    except (FileNotFoundError, NotADirectoryError):
        problem = "the file is gone"
    else:
        # Runs of early versions have the beginning of one hash only, that of the items.
        begin = run.files.get(key) or (str(run.parts.get("items", "")) if key == ITEMS_FILE else "")
        if sha256(content).startswith(begin):
            return content
        problem = "the file is changed"
    raise OutputError(
        public_url(store.path(key)),
        f"{problem}, and the results of the run in this folder depend on it",
        "Put the run's own file back, or map into another folder",
    )


def sha256(content: bytes) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(inner) for inner in value]
    return public_text(value) if isinstance(value, str) else value


def run_vocabulary(store: Store, run: RunManifest) -> Vocabulary:
    """The classes that a run maps; raises OutputError where the file is gone, or another."""
    place = public_url(store.path(VOCABULARY_FILE))
    try:
        return make_vocabulary(parse_json(read_planned(store, run, VOCABULARY_FILE)), place)
    except ValueError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            place,
            f"the run's vocabulary cannot be read ({type(error).__name__})",
            "Put the file back, or map again",
        ) from error
