"""Validation of the product's STAC against the official schemas, without a network."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pystac
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from pipeline.stac_output import EXTENSIONS, STAC_VERSION


def validate(stac: Mapping[str, Any]) -> None:
    """Validate an item or a collection against STAC's and the extensions' schemas, offline.

    Raises pystac.errors.STACValidationError.
    """
    validator = JsonSchemaSTACValidator()
    for name, url in EXTENSIONS.items():
        folder = files("pipeline") / "schemas" / name / url.split("/")[-2]
        validator.schema_cache[url] = json.loads((folder / "schema.json").read_text("utf-8"))
    kind = pystac.STACObjectType.ITEM
    if stac["type"] == "Collection":
        kind = pystac.STACObjectType.COLLECTION
    validator.validate(dict(stac), kind, STAC_VERSION, list(stac["stac_extensions"]))
