"""The vocabulary of a run, from the run's folder."""

from models.files.json_text import parse_json
from models.vocabulary.vocabulary import Vocabulary, make_vocabulary
from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url
from pipeline.layout import VOCABULARY_FILE
from pipeline.product.manifest import RunManifest, read_planned


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
