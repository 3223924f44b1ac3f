"""How true confidence is on unseen land, and the calibrations of `real-land` for some vocabularies.

`python -m tests.benchmarks.bench_confidence --work FOLDER`, with the FOLDER of `bench_real_land`,
whose trials were trained without the points that they are judged by. Writes
tests/benchmarks/results/confidence.md. With `--write` the calibrations are written onto the card of
`--checkpoint`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.encoder.card import Card
from models.encoder.checkpoint import load_checkpoint, save_with_card
from models.encoder.vocabulary_calibration import VocabularyCalibration
from models.towers.text_embeddings import embed_for_checkpoint
from models.vocabulary.labels import UNMATCHED
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.evaluation.calibrate import calibrate_vocabulary
from pipeline.real_land.tables import LabelledPoints, read_labelled_points
from tests.benchmarks.bench_real_land import Trials
from tests.benchmarks.land_tasks import vocabulary_classes
from tests.benchmarks.land_trials import SHARED

RESULT = Path(__file__).parent / "results" / "confidence.md"
COMMAND = "python -m tests.benchmarks.bench_confidence"
VOCABULARIES = ("cropland", "lucas-land-cover", "esa-worldcover")
STEPS = (12, 4, 1)
_MOST_OF_A_PLACE = 2000  # points, so that no place decides alone


def references(points: LabelledPoints, vocabulary: str) -> np.ndarray:
    """The place of each point's class in a shipped vocabulary, or UNMATCHED: int64 (n,)."""
    names = [entry.name for entry in load_vocabulary(vocabulary).classes]
    found = np.full(len(points), UNMATCHED)
    for name, holds in vocabulary_classes(vocabulary).items():
        found[[classes <= holds for classes in points.classes]] = names.index(name)
    return found


def calibrated(done: Trials, vocabulary: str, steps: int, card: Card) -> VocabularyCalibration:
    """The calibration of a shipped vocabulary by the points of all folds, unseen by their own."""
    rng, points = np.random.default_rng(0), done.points
    place = references(points, vocabulary)
    parts = []
    for trial in done.of("fold-0-"):
        own = done.embeddings(trial, f"T = {steps}")
        parts += [
            (trial.judged[k], own[k]) for k in np.flatnonzero(place[trial.judged] != UNMATCHED)
        ]
    rows, embeddings = np.array([row for row, _ in parts]), np.stack([one for _, one in parts])
    some = np.concatenate(
        [
            rng.permutation(np.flatnonzero(points.places[rows] == name))[:_MOST_OF_A_PLACE]
            for name in np.unique(points.places[rows])
        ]
    )
    rows, words = rows[some], load_vocabulary(vocabulary)
    return calibrate_vocabulary(
        embeddings[some],
        place[rows],
        words,
        embed_for_checkpoint(words, card),
        card.logit_scale,
        blocks=points.blocks[rows],
        steps=steps,
        data="cross-validated points of " + ", ".join(np.unique(points.places[rows])),
    )


def document(found: list[VocabularyCalibration], card: Card) -> Iterator[str]:
    """The table of all calibrations, and the curve of each at twelve steps."""
    yield "# How true confidence is"
    yield ""
    yield f"Made by `{COMMAND} --work FOLDER`:"
    yield f"points of the sources of `real-land`, at most {_MOST_OF_A_PLACE:,} of a place, each"
    yield "embedded by an encoder that was trained without its block of 50 km. ECE, the expected"
    yield f"calibration error, with the card's own logit scale ({card.logit_scale:.1f}) and with"
    yield "the fitted one; the latter is measured on blocks that had no part in the fit."
    yield ""
    yield "| vocabulary | T | points | fitted logit scale | ECE before | ECE after |"
    yield "|---|---:|---:|---:|---:|---:|"
    for one in found:
        yield (
            f"| {one.vocabulary.split()[0]} | {one.steps} | {one.points:,} | {one.logit_scale:.1f} "
            f"| {one.ece_before:.3f} | **{one.ece_after:.3f}** |"
        )
    yield ""
    yield "Confidence, and the share that is right (points), T = 12:"
    yield ""
    for one in found:
        if one.steps == STEPS[0]:
            curve = ", ".join(
                f"{part.confidence:.2f} → {part.accuracy:.2f} ({part.points:,})"
                for part in one.reliability
            )
            yield f"- {one.vocabulary.split()[0]}: {curve}"


def main() -> None:
    """Fit, write the table, and the checkpoint's card where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--work", type=Path, required=True, help="that of bench_real_land")
    parser.add_argument("--checkpoint", default="real-land", help="whose words are embedded")
    parser.add_argument("--write", action="store_true", help="write onto the checkpoint's card")
    given = parser.parse_args()
    done = Trials(read_labelled_points(SHARED / "real"), given.work)
    checkpoint = load_checkpoint(given.checkpoint)
    card = checkpoint.card
    found = [calibrated(done, name, steps, card) for name in VOCABULARIES for steps in STEPS]
    text = "\n".join(document(found, card)) + "\n"
    given.out.write_text(text, encoding="utf-8")
    print(text)
    if given.write:
        for one in found:
            card = card.with_calibration(one)
        save_with_card(checkpoint, card, checkpoint.path, replace=True)


if __name__ == "__main__":
    main()
