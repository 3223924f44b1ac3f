"""Validation of STAC against the official schemas, without a network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pystac
from pystac.validation.stac_validator import JsonSchemaSTACValidator

_SCHEMAS = Path(__file__).parent / "schemas"
_KINDS = {"Feature": "ITEM", "Collection": "COLLECTION", "Catalog": "CATALOG"}


def validate(stac: Mapping[str, Any]) -> list[str]:
    """Validate an item, collection or catalogue against the schemas of STAC and its extensions.

    The core schemas are those of STAC 1.1, which come with pystac.

    Returns:
        The URLs of the extensions that were checked: those whose schemas are in `tests/schemas`.

    Raises:
        pystac.errors.STACValidationError: It is not valid.
    """
    validator = JsonSchemaSTACValidator()
    # All of them: some refer to others.
    validator.schema_cache |= {
        f"https://stac-extensions.github.io/{schema.relative_to(_SCHEMAS).as_posix()}": json.loads(
            schema.read_text("utf-8")
        )
        for schema in _SCHEMAS.glob("*/*/schema.json")
    }
    extensions = [url for url in stac.get("stac_extensions", []) if url in validator.schema_cache]
    version = pystac.get_stac_version()
    whole = {**stac, "stac_version": version, "stac_extensions": extensions}
    kind = pystac.STACObjectType[_KINDS[stac["type"]]]
    validator.validate(whole, kind, version, extensions)
    return extensions
