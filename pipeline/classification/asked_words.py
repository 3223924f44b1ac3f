"""Words that are asked of a run's embeddings, in the text space of the run's own checkpoint."""

import numpy as np

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.errors import UserError
from models.towers.text_embeddings import embed_words
from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url
from pipeline.product.manifest import RunManifest


def run_checkpoint(store: Store, run: RunManifest) -> Checkpoint:
    """The checkpoint that a run was made with.

    Raises OutputError where another is there under its name, CheckpointError where there is none.
    """
    made, name = str(run.parts["checkpoint"]), str(run.settings["checkpoint"])
    checkpoint = load_checkpoint(name)
    if made != f"{checkpoint.card.name} {checkpoint.fingerprint[:12]}":
        raise OutputError(
            public_url(store.root),
            f"it was made with checkpoint {made}, and {name} is now another",
            "Put that checkpoint back",
        )
    return checkpoint


def asked_embedding(checkpoint: Checkpoint, words: str) -> np.ndarray:
    """The text embedding of words, with commas between several: float32 (dim,), unit length.

    Raises UserError where there are none.
    """
    prompts = [part.strip() for part in words.split(",") if part.strip()]
    if not prompts:
        raise UserError(repr(words), "no words", "Ask for something, such as vineyard")
    return embed_words(prompts, checkpoint.card)
