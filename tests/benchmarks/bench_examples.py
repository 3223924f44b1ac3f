"""What labelled examples add to words, with 0, 1, 5, 10 and 50 of each class.

`python -m tests.benchmarks.bench_examples --work FOLDER`, with the FOLDER of `bench_real_land`:
its trials `without-…` were trained without any point of the place that is asked for. A few minutes
of one core. Writes tests/benchmarks/results/examples.md. In each draw, a random half of a source's
blocks of 50 km gives the examples, and the points of the other half judge. Classes are asked for by
plain words.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.encoder.card import Card
from models.encoder.checkpoint import load_checkpoint
from models.towers.text_embeddings import embed_for_checkpoint
from models.vocabulary.vocabulary import vocabulary_from_words
from pipeline.classification.examples import ExampleFit, fit_examples
from pipeline.grid.blocks import blocks_of, nearest_km, on_sphere
from pipeline.real_land.tables import read_labelled_points
from tests.benchmarks.bench_real_land import Trials
from tests.benchmarks.land_trials import SHARED

RESULT = Path(__file__).parent / "results" / "examples.md"
COMMAND = "python -m tests.benchmarks.bench_examples"
_SHOTS, _DRAWS, _MOST_JUDGED, _NEIGHBOURS = (1, 5, 10, 50), 12, 1500, 5
_CROPS = (
    *("temporary_crops", "maize", "wheat", "barley", "oats", "rye", "triticale", "sorghum"),
    *("sunflower", "rapeseed_rape", "soy_soybeans", "dry_pulses_legumes", "fibre_crops"),
    *("potatoes", "beet", "vegetables"),
)


@dataclass(frozen=True)
class Asked:
    """Classes that are asked of some tables: their words, and the labels that each class has."""

    tables: tuple[str, ...]
    words: str
    labels: tuple[tuple[str, ...], ...]


def _same(*labels: str) -> tuple[tuple[str, ...], ...]:
    return tuple((label,) for label in labels)


ASKED = {
    "Lesotho, eight covers": Asked(
        ("lesotho_2021_bimonthly",),
        "grassland, trees: trees | forest, cropland: cropland | crop field, wetland: wetland | "
        "marsh, shrubland, water: water | lake, bare rock and soil, town: built-up area | town",
        (
            *_same("Grassland", "Trees"),
            ("Cropland", "Irrigated agriculture"),
            *_same("Wetland", "Shrubland", "Water", "Barren", "Urban"),
        ),
    ),
    "California and Arkansas, the eight commonest crops": Asked(
        ("us_2021_dekadal",),
        "soybean field, rice paddy, vineyard, maize field, alfalfa field, cotton field, almond "
        "orchard, pear orchard",
        _same("Soybeans", "Rice", "Grapes", "Corn", "Alfalfa", "Cotton", "Almonds", "Pears"),
    ),
    "California and Arkansas, the next eight (nothing was tuned on them)": Asked(
        ("us_2021_dekadal",),
        "fallow field, pistachio orchard, pasture, tomato field, walnut orchard, winter wheat "
        "followed by soybeans, winter wheat field, sorghum field",
        _same(
            *("Fallow/Idle Cropland", "Pistachios", "Grassland/Pasture", "Tomatoes", "Walnuts"),
            *("Dbl Crop WinWht/Soybeans", "Winter Wheat", "Sorghum"),
        ),
    ),
    "Rondônia, four covers": Asked(
        ("rondonia_2018_16day",),
        "tropical forest, pasture, natural savanna and grassland, recently cleared forest",
        _same("Forest", "Pasture", "NatNonForest", "Deforestation"),
    ),
    "France and Flanders, five covers": Asked(
        ("france_2022_monthly", "france_2023_dekadal", "flanders_2021_monthly"),
        "grassland: grassland | meadow, permanent crops: vineyard | orchard, arable crops: cereal "
        "field | maize field | sunflower field, temporary grassland: temporary grass ley | sown "
        "grass, trees: forest | trees",
        (
            ("grasslands",),
            ("permanent_crops",),
            _CROPS,
            ("temporary_grasses", "grass_fodder_crops"),
            ("trees",),
        ),
    ),
    "Africa, cropland or not": Asked(
        ("africa_2019_halfyear",),
        "cropland: cropland | crop field, other: forest | water | grassland | town | bare soil | "
        "shrubland",
        _same("cropland", "non-cropland"),
    ),
}


@dataclass(frozen=True, eq=False)
class Pixels:
    """The points of a source: embeddings, the logits of words, classes, places, blocks (n,)."""

    embeddings: np.ndarray
    words: np.ndarray
    classes: np.ndarray
    lon: np.ndarray
    lat: np.ndarray
    blocks: np.ndarray

    @property
    def count(self) -> int:
        """The number of classes."""
        return self.words.shape[1]


def pixels_of(asked: Asked, done: Trials, card: Card) -> Pixels:
    """The points of the asked classes, embedded by the training without any of their place."""
    points = done.points
    classes = np.full(len(points), -1)
    for place, labels in enumerate(asked.labels):
        classes[np.isin(points.labels, labels) & np.isin(points.tables, asked.tables)] = place
    own = classes >= 0
    (trial,) = done.of(_trial_name(asked, done))
    some = points.take(own)
    embeddings = done.embeddings(trial)[own[trial.judged]]
    text = embed_for_checkpoint(vocabulary_from_words(asked.words), card)
    _, blocks = np.unique(some.blocks, return_inverse=True)
    return Pixels(
        embeddings=embeddings,
        words=card.logit_scale * text.cosines(embeddings),
        classes=classes[own],
        lon=some.lon,
        lat=some.lat,
        blocks=blocks,
    )


def _trial_name(asked: Asked, done: Trials) -> str:
    place = done.points.places[done.points.tables == asked.tables[0]][0]
    return f"without-{place}"


def drawn(pixels: Pixels, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of examples, at most `shots` of each class, and of judged points in other blocks."""
    rng = np.random.default_rng([seed, shots])
    blocks = np.unique(pixels.blocks)
    for _ in range(100):  # until the half of the examples has all classes
        half = np.isin(pixels.blocks, rng.permutation(blocks)[: max(1, len(blocks) // 2)])
        if len(np.unique(pixels.classes[half])) == pixels.count:
            break
    chosen = [
        rng.permutation(np.flatnonzero(half & (pixels.classes == place)))[:shots]
        for place in range(pixels.count)
    ]
    return np.concatenate(chosen), rng.permutation(np.flatnonzero(~half))[:_MOST_JUDGED]


def fitted(pixels: Pixels, chosen: np.ndarray, judged: np.ndarray) -> ExampleFit:
    """The examples beside the words, by the product's own rule; Africa's blocks are its regions."""
    blocks = pixels.blocks[chosen]
    lon, lat = pixels.lon[chosen], pixels.lat[chosen]
    if np.isfinite(lon).all():
        places = on_sphere(pixels.lon[judged], pixels.lat[judged])
        blocks = blocks_of(lon, lat, float(np.median(nearest_km(places, on_sphere(lon, lat)))))
    arrays = (pixels.embeddings[chosen], pixels.classes[chosen], blocks, pixels.words[chosen])
    return fit_examples(*(torch.from_numpy(array) for array in arrays))


def ways(pixels: Pixels, chosen: np.ndarray, judged: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """The weight of the examples, and the classes that each way finds: int64 (judged,) each.

    The ways are words, words and examples, the nearest examples, and the means of examples.
    """
    vectors, keys, labels = (
        pixels.embeddings[judged],
        pixels.embeddings[chosen],
        pixels.classes[chosen],
    )
    words, fit = pixels.words[judged], fitted(pixels, chosen, judged)
    both = words
    if fit.cache is not None:
        both = words + fit.cache.logits(torch.from_numpy(vectors), 0, pixels.count).numpy()
    member = np.eye(pixels.count)[labels]
    cosines = vectors @ keys.T
    k = min(_NEIGHBOURS, int(member.sum(axis=0).min()))
    nearest = np.argsort(-cosines, axis=1)[:, :k]
    votes = (member[nearest] * np.take_along_axis(cosines, nearest, axis=1)[..., None]).sum(axis=1)
    means = member.T @ keys
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return fit.weight, [way.argmax(axis=1) for way in (words, both, votes, vectors @ means.T)]


def scores(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Accuracy, and the mean over classes of the share that is found."""
    recalls = [float((found[truth == place] == place).mean()) for place in np.unique(truth)]
    return float((found == truth).mean()), float(np.mean(recalls))


def rows(pixels: Pixels) -> Iterator[str]:
    """The table of a source."""
    yield (
        "| examples of each class | words | words + examples | worst draw | recall: words | "
        "words + examples | used in | nearest examples | means of examples |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    alone = scores(pixels.words.argmax(axis=1), pixels.classes)
    yield f"| 0 | {alone[0]:.3f} | {alone[0]:.3f} | | {alone[1]:.3f} | {alone[1]:.3f} | | | |"
    for shots in _SHOTS:
        used, of_ways = [], []
        for seed in range(_DRAWS):
            chosen, judged = drawn(pixels, shots, 1000 + seed)
            weight, found = ways(pixels, chosen, judged)
            used.append(weight > 0)
            of_ways.append([scores(one, pixels.classes[judged]) for one in found])
        table = np.array(of_ways)  # (draw, way, score)
        words, both, near, means = table.mean(axis=0)
        worst = (table[:, 1, 0] - table[:, 0, 0]).min()
        yield (
            f"| {shots} | {words[0]:.3f} | **{both[0]:.3f}** ({both[0] - words[0]:+.3f}) | "
            f"{worst:+.3f} | {words[1]:.3f} | **{both[1]:.3f}** | {np.mean(used):.0%} | "
            f"{near[0]:.3f} | {means[0]:.3f} |"
        )


def document(done: Trials, card: Card) -> Iterator[str]:
    """All tables."""
    yield "# Words and examples"
    yield ""
    yield f"Made by `{COMMAND} --work FOLDER`."
    yield "Each place is asked by an encoder that was trained without any of its points."
    yield f"Means of {_DRAWS} draws. In each, a random half of the blocks of 50 km (in Africa: of"
    yield "the regions) gives the examples, all of a class where there are fewer; the points of the"
    yield "other blocks judge. Accuracy, and recall as the mean over classes. “Worst draw” is the"
    yield "lowest difference of accuracy; “used in” the share of draws in which leaving blocks out"
    yield "gave the examples a weight. Beside it, without words: the vote of the (at most"
    yield f"{_NEIGHBOURS}) nearest examples, and the nearest mean of a class's examples."
    for title, asked in ASKED.items():
        if done.of(_trial_name(asked, done)):
            yield from ("", f"## {title}", "")
            yield from rows(pixels_of(asked, done, card))


def main() -> None:
    """Draw, judge, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="that of bench_real_land")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = Trials(read_labelled_points(SHARED / "real"), given.work)
    text = "\n".join(document(done, load_checkpoint("real-land").card)) + "\n"
    given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
