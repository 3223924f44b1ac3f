"""Fingerprints of a result's inputs, the differences of two inputs, and software versions."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

_PACKAGES = ("timesen", "torch", "stackstac", "rasterio", "numpy", "dask", "xarray")


def fingerprint(parts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the parts as canonical JSON: keys in order, no spaces."""
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences of two runs' inputs, such as "reading.strict: False → True"."""
    before = dict(leaves(old))
    after = dict(leaves(as_read(new)))
    return [
        f"{name}: {_shown(before.get(name))} → {_shown(after.get(name))}"
        for name in (*before, *(name for name in after if name not in before))
        if before.get(name) != after.get(name)
    ]


def software_versions() -> dict[str, str]:
    """Versions of timesen and of the software that its results depend on."""
    import rasterio  # takes a fifth of a second, and only writing asks for versions

    versions = {name: version(name) for name in _PACKAGES}
    return versions | {"gdal": rasterio.__gdal_version__, "python": platform.python_version()}


def now() -> str:
    """The time, "2026-01-31T12:00:00Z"."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def as_read(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts as they are once they have been written as JSON and read again."""
    values: dict[str, Any] = json.loads(canonical_json(parts))
    return values


def canonical_json(parts: Mapping[str, Any]) -> bytes:
    """The parts as JSON in UTF-8: keys in order, no spaces."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested dicts with their dotted names, such as ("reading.strict", False)."""
    if isinstance(value, dict) and (value or name):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
