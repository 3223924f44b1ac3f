"""The run's checkpoint as a STAC item of the Machine Learning Model extension 1.4.0, `model.json`.

A run's collection and items link to it as `derived_from`, as the extension's best practices say of
what a model makes. It names the file of the weights and its checksum, and no path of any machine:
the weights are not beside it.
"""

import hashlib
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from models.encoder.checkpoint_folder import CHECKPOINT_WEIGHTS, checkpoint_folder
from models.encoder.preprocessing import Preprocessing
from models.errors import CheckpointError
from models.vocabulary.vocabulary import Vocabulary
from pipeline.io.store import Store
from pipeline.layout import MODEL_FILE
from pipeline.product.manifest import RunManifest
from pipeline.product.stac_classes import stac_classes

if TYPE_CHECKING:
    from models.encoder.card import Card  # which loads torch: items need the links alone

MLM_EXTENSION = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
_FILE_EXTENSION = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_ARCHITECTURES = {"timesenclip": "TimeSenCLIP", "perceptron": "Multilayer perceptron"}
# The extension's way to say "everywhere, and at any time" of data of Sentinel-2.
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_TIMES = {"start_datetime": "2015-06-23T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}


def model_links(run: RunManifest, folder: str) -> list[dict[str, str]]:
    """The link to the run's model, from a document whose way to the run's folder is given.

    A run that is made of other runs has none: it is derived from their maps.
    """
    if run.derived_kind or (identity := _identity(run)) is None:
        return []
    name, _ = identity
    return [
        {
            "rel": "derived_from",
            "href": f"{folder}{MODEL_FILE}",
            "type": "application/geo+json",
            "title": f"The model: checkpoint {name}",
            "mlm:name": name,
            "processing:level": "L4",
        }
    ]


def write_model(store: Store, run: RunManifest, vocabulary: Vocabulary, card: "Card") -> None:
    """Write `model.json`, if the collection and the items of the run link to it.

    Raises OutputUnwritable.
    """
    if model_links(run, ""):
        item = model_item(run, vocabulary, card, _weights(str(run.settings.get("checkpoint"))))
        store.write(MODEL_FILE, (json.dumps(item, indent=1, ensure_ascii=False) + "\n").encode())


def model_item(
    run: RunManifest, vocabulary: Vocabulary, card: "Card", weights: dict[str, Any]
) -> dict[str, Any]:
    """Describe the model of a run as a STAC item.

    Args:
        run: A run with a checkpoint.
        vocabulary: Its classes.
        card: The card of its checkpoint.
        weights: The fields of STAC's file extension for the file of the weights, as far as known.
    """
    name, fingerprint = _identity(run) or (card.name, "")
    west, south, east, north = _WORLD
    bands = [{"name": band} for band in card.preprocessing.bands]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM_EXTENSION, _FILE_EXTENSION],
        "id": re.sub(r"[^0-9A-Za-z_.-]+", "-", f"{name}-{fingerprint}"),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(_WORLD),
        "properties": {
            "title": f"Checkpoint {name}",
            "description": card.description or f"Checkpoint {name}",
            "license": card.licence if re.fullmatch(r"[\w.+-]+", card.licence) else "other",
            "datetime": None,
            **_TIMES,
            "bands": bands,  # and in the asset: STAC has them in both or in the asset alone
            "mlm:name": name,
            "mlm:architecture": _ARCHITECTURES.get(card.architecture.kind, "unknown"),
            "mlm:tasks": ["semantic-segmentation", "similarity-search"],
            "mlm:framework": "PyTorch",
            "mlm:framework_version": run.versions.get("torch", "unknown"),
            "mlm:total_parameters": card.architecture.weight_count,
            "mlm:pretrained": True,
            "mlm:pretrained_source": card.description or "unknown",
            "mlm:accelerator": None,
            "mlm:input": [_input(card.preprocessing, int(run.settings.get("steps", 12)))],
            "mlm:output": _outputs(card, vocabulary),
            "mlm:hyperparameters": {
                "logit_scale": card.logit_scale,
                "text_tower": card.text_tower,
                **asdict(card.architecture),
            },
            "timesen:checkpoint_fingerprint": fingerprint,
        },
        "assets": {
            "model": {
                "title": f"The weights of checkpoint {name}",
                "description": "The file of this name in the checkpoint's folder. It is not beside "
                "this item; its checksum tells whether a file is the one.",
                "href": CHECKPOINT_WEIGHTS,
                "type": "application/octet-stream; framework=safetensors",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "safetensors.torch.save_file",
                "bands": bands,
                **weights,
            }
        },
        "links": [],
    }


def _identity(run: RunManifest) -> tuple[str, str] | None:
    """The name and the first digits of the fingerprint of the run's checkpoint."""
    found = re.fullmatch(r"(.+) ([0-9a-f]{12})", str(run.parts.get("checkpoint", "")), re.DOTALL)
    return None if found is None else (found[1], found[2])


def _input(preprocessing: Preprocessing, steps: int) -> dict[str, Any]:
    """The series of a pixel, scaled as `Preprocessing.normalise` does."""
    scales = zip(preprocessing.low, preprocessing.high, strict=True)
    kept = ", ".join(map(str, preprocessing.scl_keep))
    optional = ""
    if bands := preprocessing.optional_bands:
        optional = f" A series may lack {', '.join(bands)}: they are 0."
    length = {12: "month", 4: "season", 1: "year"}.get(steps, f"{12 // steps} months")
    return {
        "name": "series",
        "description": "A pixel's year of Sentinel-2 L2A, reflectance × 10000: the composite of "
        f"the clear observations (scene classes {kept}) of each {length}; one without takes the "
        f"year's median. Scaled values are clipped to 0 … 1.{optional}",
        "bands": list(preprocessing.bands),
        "input": {
            "shape": [-1, steps, len(preprocessing.bands)],
            "dim_order": ["batch", "time", "channel"],
            "data_type": "float32",
        },
        "value_scaling": [
            {
                "type": "min-max",
                "minimum": round(low - preprocessing.add, 6),
                "maximum": round(low - preprocessing.add + high, 6),
            }
            for low, high in scales
        ],
        "resize_type": None,
    }


def _outputs(card: "Card", vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The embedding, and the class that is nearest to it among texts."""
    return [
        {
            "name": "embedding",
            "tasks": ["similarity-search"],
            "description": f"Of unit length, in the space of the text tower {card.text_tower}.",
            "result": {
                "shape": [-1, card.architecture.embedding_dim],
                "dim_order": ["batch", "embedding"],
                "data_type": "float32",
            },
        },
        {
            "name": "class",
            "tasks": ["semantic-segmentation"],
            "description": "The class whose text embedding is nearest to the embedding. Other "
            "words make other classes of the same embeddings.",
            "result": {
                "shape": [-1],
                "dim_order": ["batch"],
                "data_type": vocabulary.dtype.name,
            },
            # Version 1.1.0 of the classification extension, to which this one refers, asks for a
            # description.
            "classification:classes": [
                {"description": entry["title"], **entry} for entry in stac_classes(vocabulary)
            ],
        },
    ]


def _weights(checkpoint: str) -> dict[str, Any]:
    """The fields of STAC's file extension for a checkpoint's weights; none where they are gone."""
    try:
        path = checkpoint_folder(checkpoint) / CHECKPOINT_WEIGHTS
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"file:size": path.stat().st_size, "file:checksum": f"1220{digest}"}
    except (CheckpointError, OSError):
        return {}
