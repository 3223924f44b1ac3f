"""Colours of classes in words: each is near that of the shipped class whose text is nearest.

So water is blue and a forest green, whatever they are called. The words are compared in the run's
own text space, as `pipeline.classification.other_land` compares them.
"""

import numpy as np

from models.encoder.card import Card
from models.towers.text_embeddings import TextEmbeddings, embed_for_checkpoint
from models.vocabulary.vocabulary import Vocabulary, load_vocabulary
from models.vocabulary.word_colours import separated_colours

COLOURED = ("lucas-land-cover", "sample-landscape")
"""The shipped vocabularies whose colours words take: those of legends that people know."""
_LIKE = 0.4  # of sentence towers: sugar beet is like cropland, solar panels are like nothing


def with_colours_of_meaning(vocabulary: Vocabulary, text: TextEmbeddings, card: Card) -> Vocabulary:
    """The vocabulary with colours by meaning; all others that its classes had are replaced.

    A class of several members counts by the member that is most like a shipped class. One that is
    like none takes a colour far from all others. A text tower's texts are all somewhat alike: a
    word is like a shipped class if the cosine of their texts lies `_LIKE` of the way from the mean
    cosine between the texts of the shipped classes to 1.

    Args:
        vocabulary: The classes.
        text: Their text embeddings.
        card: The checkpoint's card. Raises as `embed_for_checkpoint`.
    """
    shipped = [
        # One sentence of each will do for a colour, and takes a sixth of the time of all.
        one.model_copy(update={"templates": one.templates[:1]})
        for one in map(load_vocabulary, COLOURED)
    ]
    texts = [embed_for_checkpoint(one, card) for one in shipped]
    colours = [entry.colour for one in shipped for entry in one.classes]
    cosines = np.concatenate([one.cosines(text.members) for one in texts], axis=1)
    of_class = np.stack(
        [cosines[text.class_index == place].max(axis=0) for place in range(len(vocabulary.classes))]
    )
    members = np.concatenate([one.members for one in texts])
    usual = float((members @ members.T).mean())
    nearest, likeness = of_class.argmax(axis=1), of_class.max(axis=1)
    names = [entry.name for entry in vocabulary.classes]
    found = separated_colours(
        names,
        [
            colours[place] if like >= usual + _LIKE * (1 - usual) else None
            for place, like in zip(nearest.tolist(), likeness.tolist(), strict=True)
        ],
        [round(like, 4) for like in likeness.tolist()],  # the same on machines that round unlike
    )
    classes = tuple(
        entry.model_copy(update={"colour": colour})
        for entry, colour in zip(vocabulary.classes, found, strict=True)
    )
    return vocabulary.model_copy(update={"classes": classes})
