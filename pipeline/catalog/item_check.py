"""The form of a published STAC item, checked before anything of it is used.

What a catalogue gives is not trusted. An item of another form is refused alone; ids and addresses
that pass hold no control character, so they may be stored, logged and shown.
"""

import math
from collections.abc import Mapping
from typing import Any

from models.visible_text import is_visible
from pipeline.catalog.item_assets import StacJson, item_name
from pipeline.errors import CatalogError
from pipeline.io.store import public_url

_LONGEST_ID = 500  # characters
_LONGEST_ADDRESS = 8192  # characters; servers refuse longer ones
# Properties that are read as text; some catalogues write some of them as numbers.
_TEXTS = (
    *("datetime", "start_datetime", "platform", "grid:code", "processing:version"),
    *("s2:mgrs_tile", "s2:processing_baseline", "s2:product_uri", "s2:generation_time"),
    *("s2:datatake_id", "s2:datastrip_id", "eopf:datatake_id", "eopf:datastrip_id"),
    *("mgrs:latitude_band", "mgrs:grid_square", "mgrs:utm_zone", "sat:relative_orbit"),
    *("processing:datetime", "proj:code", "proj:epsg"),
)


def require_item(item: StacJson) -> None:
    """Require that a document has the form of a STAC item, in all that is kept of it.

    Raises:
        CatalogError: It names the item and the field.
    """
    properties, name = item.get("properties"), item.get("id")
    if item.get("type") != "Feature" or not isinstance(properties, dict):
        raise _refused(item, f"not a STAC item{_place(item)}")
    if name is None or name == "":
        raise _refused(item, "it has no id")
    if not isinstance(name, str) or len(name) > _LONGEST_ID or not is_visible(name):
        raise _refused(item, f"its id is no text of one line and up to {_LONGEST_ID} characters")
    if not isinstance(item.get("assets"), dict):
        raise _refused(item, "its assets are no JSON object")
    for key in ("links", "stac_extensions"):
        if not isinstance(item.get(key) or [], list):
            raise _refused(item, f"its {key} are no list")
    for key in ("collection", "stac_version"):
        if not _is_text(item.get(key)):
            raise _refused(item, f"its {key} is no text of one line")
    if not all(isinstance(each, str) and is_visible(each) for each in _listed(item)):
        raise _refused(item, "its stac_extensions are no texts of one line")
    for key in _TEXTS:
        if not _is_text(properties.get(key)) and not _is_number(properties.get(key)):
            raise _refused(item, f"its {key} is no text of one line: {properties[key]!r:.100}")


def require_address(item: StacJson, asset: Mapping[str, Any]) -> None:
    """Require that an asset's href is an address of one line. Raises CatalogError."""
    href = asset["href"]
    if not isinstance(href, str) or len(href) > _LONGEST_ADDRESS or not is_visible(href):
        raise _refused(item, f"the href of an asset is no address: {href!r:.100}")


def _listed(item: StacJson) -> list[Any]:
    return item.get("stac_extensions") or []


def _is_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and is_visible(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _place(item: StacJson) -> str:
    """Where the document was found, if that is known."""
    links = item.get("links")
    first = links[0] if isinstance(links, list) and links else None
    href = first.get("href") if isinstance(first, dict) else None
    return f" ({public_url(href)})" if isinstance(href, str) else ""


def _refused(item: StacJson, problem: str) -> CatalogError:
    return CatalogError(item_name(item), problem, "Correct it in the catalogue")
