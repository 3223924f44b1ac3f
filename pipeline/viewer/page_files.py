"""The files of the viewer's page, read once: a request names one of them, and no path."""

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from models.errors import WorldError

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_MAPLIBRE = ("maplibre-gl.js", "maplibre-gl.css")


def page_files() -> dict[str, tuple[bytes, str]]:
    """The content and the media type of each file, by its name.

    MapLibre's are those of the installed package `maplibre`. Raises WorldError where it is absent.
    """
    own = files("pipeline.viewer") / "static"
    found = {
        each.name: (each.read_bytes(), _TYPES[Path(each.name).suffix]) for each in own.iterdir()
    }
    return found | {
        name: (content, _TYPES[Path(name).suffix]) for name, content in _maplibre().items()
    }


def _maplibre() -> dict[str, bytes]:
    # Found without being imported, which warns of frameworks that are not used.
    spec = find_spec("maplibre")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    try:
        return {name: (Path(places[0]) / "srcjs" / name).read_bytes() for name in _MAPLIBRE}
    except (IndexError, OSError):
        raise WorldError(
            "The package maplibre, which draws the map, is not installed as it should be. Install "
            "timesen again."
        ) from None
