"""The targets, by name: each is a door through which files of others come in."""

from importlib import import_module

from tests.fuzz.target import Target

_CLASSES = {
    "items": "items.Items",
    "catalogues": "catalogs.Catalogs",
    "regions": "regions.Regions",
    "points": "points.Points",
    "vocabularies": "vocabularies.Vocabularies",
    "settings": "settings.SettingsFiles",
    "checkpoints": "checkpoints.Checkpoints",
    "tiffs": "tiffs.Tiffs",
    "embeddings": "embeddings.KeptEmbeddings",
    "runs": "runs.Runs",
    "training-sets": "training_sets.TrainingSets",
}
TARGETS = tuple(_CLASSES)
"""The names of all targets."""


def target_class(name: str) -> type[Target]:
    """The class of a target; only its module is imported, and what it reads."""
    module, _, kind = _CLASSES[name].partition(".")
    found: type[Target] = getattr(import_module(f"{__name__}.{module}"), kind)
    return found
