"""Products compared: every file byte for byte, but for what says when, where and how fast.

Compared as they are: rasters and their side files, mosaics, styles, previews, the collection, the
list of items, text embeddings, the vocabulary, the plan's tiles and cells, weights. Left out:

| file | left out | why |
|---|---|---|
| `item.json` | `timesen:seconds`, `timesen:retries` | time, and requests sent again |
| `item.json` | `timesen:requests`, `timesen:fetched` | each process asks for headers once |
| `run.json` | `created`, `settings.out`, `settings.cluster` | time, place, where it was computed |
| `run.json` | `files["plan/plan.json"]` | the hash of a file that states speed |
| `owners/` | all | one file for each process that has written here |
| `plan.json` | `seconds`, `encoded_pixels_per_second` | speed |
| `plan.json` | `cost`, `worker_memory_bytes` | speed, workers |
| `report.html` | the same, as it is printed there | the same |
| `map.qgz` | the paths of rasters | place: in a bucket they are absolute |
| `card.json` | `training.sessions`, times in it | a training that went on says so |
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from tests.faults.places import Place

Product = Mapping[str, bytes]
"""The files of a product by name, in the form in which they are compared."""

_VOLATILE = re.compile(r"seconds|minutes|created|when|began|time$|times$|per_second")
_OWNERS = "owners/"
_SHOWN = 200  # characters of a line that differs
_REPORT = (
    (r"begun [0-9TZ:-]+", "begun"),
    (r'(<tr><td>[a-z ]+</td><td class="n">)[0-9,.]+(</td></tr>)', r"\1\2"),
    (r"(?s)<h2>What it took</h2>.*?</table>", "took"),
    (r"<tr><td>(cluster\.|costs\.|out<)[^\n]*\n", ""),
)


def read_product(place: Place) -> Product:
    """The files of a product, without what may differ between two runs of one command."""
    names = sorted(name for name in place.names() if not name.startswith(_OWNERS))
    return {name: comparable(name, place.read(name), place.out) for name in names}


def comparable(name: str, content: bytes, out: str) -> bytes:
    """A file's bytes without what may differ between two runs of one command."""
    last = name.rpartition("/")[2]
    if last == "report.html":
        text = content.decode()
        for root in (f"/vsis3/{out.removeprefix('s3://')}", out):
            text = text.replace(root, "OUT")
        for pattern, kept in _REPORT:
            text = re.sub(pattern, kept, text)
        return text.encode()
    if last == "map.qgz":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            text = archive.read("map.qgs").decode()
        for root in (f"/vsis3/{out.removeprefix('s3://').rstrip('/')}/", "./"):
            text = text.replace(root, "OUT/")
        return text.encode()
    if last not in _JSON:
        return content
    value = json.loads(content)
    _JSON[last](value)
    return json.dumps(value, sort_keys=True).encode()


def _without_times_of_item(item: dict[str, Any]) -> None:
    for name in ("seconds", "retries", "requests", "fetched"):
        item["properties"].pop(f"timesen:{name}", None)


def _without_place_of_run(run: dict[str, Any]) -> None:
    run.pop("created", None)
    run.get("files", {}).pop("plan/plan.json", None)
    for name in ("out", "cluster", "costs"):
        run.get("settings", {}).pop(name, None)


def _without_speed(plan: dict[str, Any]) -> None:
    for name in ("seconds", "cost", "encoded_pixels_per_second", "worker_memory_bytes"):
        plan.pop(name, None)


def _without_sessions(card: dict[str, Any]) -> None:
    card.get("training", {}).pop("sessions", None)
    _without_volatile(card)


def _without_volatile(value: Any) -> None:
    if isinstance(value, dict):
        for name in [name for name in value if _VOLATILE.search(name)]:
            del value[name]
        for each in value.values():
            _without_volatile(each)
    elif isinstance(value, list):
        for each in value:
            _without_volatile(each)


_JSON: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "item.json": _without_times_of_item,
    "run.json": _without_place_of_run,
    "plan.json": _without_speed,
    "card.json": _without_sessions,
}


def product_differences(found: Product, wanted: Product) -> tuple[list[str], list[str], list[str]]:
    """Names of files that are missing, that differ (and where), and that should not be there."""
    missing = [name for name in wanted if name not in found]
    differing = [
        f"{name}{_first_difference(found[name], wanted[name])}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    return missing, differing, [name for name in found if name not in wanted]


def _first_difference(found: bytes, wanted: bytes) -> str:
    """Where two files of text begin to differ, for people; empty where they are none."""
    try:
        lines = [_lines(each) for each in (found, wanted)]
    except UnicodeDecodeError:
        return ""
    for ours, theirs in zip_longest(*lines, fillvalue=""):
        if ours != theirs:
            return f" ({ours.strip()[:_SHOWN]!r} for {theirs.strip()[:_SHOWN]!r})"
    return ""


def _lines(content: bytes) -> list[str]:
    text = content.decode()
    with suppress(ValueError):
        text = json.dumps(json.loads(text), indent=1, sort_keys=True)
    return text.splitlines()


def committed_cells(place: Place) -> dict[str, bytes]:
    """The items of the finished cells, as they lie there: they say when each cell was mapped."""
    names = [name for name in place.names() if name.endswith("/item.json")]
    return {name: place.read(name) for name in names}


def fingerprint_of(place: Place) -> str:
    """The fingerprint of the run that a place holds; empty without one."""
    if "run.json" not in place.names():
        return ""
    return str(json.loads(place.read("run.json"))["fingerprint"])
