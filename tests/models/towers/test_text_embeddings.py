"""Text embeddings of classes and members: cosines to the nearest, and their tensors."""

import numpy as np

from models.towers.text_embeddings import TextEmbeddings


def made() -> TextEmbeddings:
    rng = np.random.default_rng(0)
    members, background = (rng.normal(size=(n, 8)).astype(np.float32) for n in (6, 2))
    return TextEmbeddings(members, np.array([0, 1, 1, 1, 2, 2]), background)


def test_a_class_is_as_near_as_its_nearest_member() -> None:
    text, pixels = made(), np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    every = pixels @ text.members.T
    wanted = np.stack([every[:, 0], every[:, 1:4].max(axis=1), every[:, 4:].max(axis=1)], axis=1)
    np.testing.assert_array_equal(text.cosines(pixels), wanted)
    assert text.starts.tolist() == [0, 1, 4]


def test_background_prompts_are_classes_of_their_own() -> None:
    text = made()
    embeddings, classes = text.with_background()
    np.testing.assert_array_equal(embeddings, np.concatenate((text.members, text.background)))
    assert classes.tolist() == [0, 1, 1, 1, 2, 2, 3, 4]


def test_tensors_give_them_back() -> None:
    text = made()
    again = TextEmbeddings.from_tensors(text.tensors())
    for field in ("members", "class_index", "background"):
        np.testing.assert_array_equal(getattr(again, field), getattr(text, field))


def test_tensors_of_older_runs_have_one_text_a_class() -> None:
    text = made()
    old = TextEmbeddings.from_tensors({"classes": text.members, "background": text.background})
    assert old.class_index.tolist() == list(range(6))
    np.testing.assert_array_equal(old.members, text.members)
