"""Changes between two maps: transitions of classes, and the probability that a class changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.vocabulary.vocabulary import Vocabulary, make_vocabulary
from models.vocabulary.vocabulary_class import VocabularyParent
from pipeline.errors import OutputError
from pipeline.evaluation.transition_labels import ARROW, CHANGED, STABLE
from pipeline.product.cog_writer import rgb
from pipeline.product.layers import NODATA_CLASS
from pipeline.product.rank_shares import RankShares, rest_each

_MOST_CLASSES = 255  # of which the transitions' values fit into uint16
_PALE = 0.75  # of white in the colour of land that stays what it is
_FROM = 0.25  # of the earlier class in the colour of a change


@dataclass(frozen=True)
class Transitions:
    """The transitions between the classes of two maps.

    Transition i → j, of the earlier map's class i to the later one's class j, has the value
    1 + i · n + j, whatever occurs.

    Attributes:
        legend: The n classes, those that the earlier map shows.
        later: Class value on the later map → place in `legend`; values that are left out are
            missing.
    """

    legend: tuple[VocabularyParent, ...]
    later: Mapping[int, int]

    @property
    def earlier(self) -> dict[int, int]:
        """Class value on the earlier map → place in `legend`."""
        return {entry.value: place for place, entry in enumerate(self.legend)}

    def value(self, before: int, after: int) -> int:
        """The value of a transition between places in `legend`."""
        return 1 + before * len(self.legend) + after

    def places(self, values: np.ndarray, *, later: bool) -> np.ndarray:
        """The places in `legend` of class values of a map: int64 of their shape, −1 for none."""
        known = self.later if later else self.earlier
        table = np.full(np.iinfo(np.uint16).max + 1, -1, np.int64)
        for value, place in known.items():
            table[value] = place
        found: np.ndarray = table[values]
        return found

    def values(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The transitions of pixels, uint16, of places in `legend`; nodata where either is −1."""
        both = (before >= 0) & (after >= 0)
        found = np.where(both, 1 + before * len(self.legend) + after, NODATA_CLASS)
        return found.astype(np.uint16)


def match_transitions(
    earlier: Vocabulary, later: Vocabulary, given: Mapping[str, str | None] | None, place: str
) -> Transitions:
    """Match the classes of two maps: by name, or by a table.

    Args:
        earlier: The classes of the earlier map.
        later: Those of the later one.
        given: The earlier map's class of each of the later one's; None leaves a class out.
        place: The later map, for errors.

    Raises:
        OutputError: A class of the later map has no partner, or there are too many classes.
    """
    legend = earlier.legend
    if len(legend) > _MOST_CLASSES:
        raise OutputError(
            place,
            f"its {len(legend)} classes have more transitions than a raster has values",
            f"Compare maps of up to {_MOST_CLASSES} classes, such as those at the level of parents",
        )
    places = {entry.name.casefold(): number for number, entry in enumerate(legend)}
    table = None if given is None else {name.casefold(): to for name, to in given.items()}
    found, lacking = {}, []
    for entry in later.legend:
        name: str | None = entry.name
        if table is not None and entry.name.casefold() in table:
            name = table[entry.name.casefold()]
        if name is None:
            continue
        if name.casefold() in places:
            found[entry.value] = places[name.casefold()]
        else:
            lacking.append(entry.name)
    if lacking:
        shown = ", ".join(lacking[:8]) + (f" and {len(lacking) - 8} more" if lacking[8:] else "")
        raise OutputError(
            place,
            f"its classes are not those of the earlier map, which has no {shown}",
            "Say which they are by --classes FILE, a table with columns label (class of the later "
            f"map) and class (of the earlier: {', '.join(entry.name for entry in legend)})",
        )
    return Transitions(tuple(legend), found)


def transition_vocabulary(
    transitions: Transitions, occurring: Sequence[int], title: str
) -> Vocabulary:
    """The transitions that occur, as classes of a map: what stays pale, what changes in colour.

    Args:
        transitions: All transitions.
        occurring: The values of those that occur.
        title: The map's title.
    """
    legend, count = transitions.legend, len(transitions.legend)
    wanted = sorted(occurring)
    for value in (1, 2):  # a vocabulary has two classes or more, and both parents
        if len(wanted) < 2 and value not in wanted:
            wanted = sorted([*wanted, value])
    classes = []
    for value in wanted:
        before, after = divmod(value - 1, count)
        stays = before == after
        old, new = legend[before], legend[after]
        other, share = ("#ffffff", _PALE) if stays else (old.colour, _FROM)
        classes.append(
            {
                "name": f"{old.name}{ARROW}{new.name}",
                "value": value,
                "colour": _mixed(new.colour, other, share),
                "parent": STABLE if stays else CHANGED,
            }
        )
    named = {str(entry["parent"]) for entry in classes}
    parents = [
        {"name": name, "value": value, "colour": colour}
        for name, value, colour in ((STABLE, 1, "#d9d9d9"), (CHANGED, 2, "#c0392b"))
        if name in named
    ]
    raw = {
        "name": "change",
        "title": title,
        "source": "two maps of timesen",
        "licence": "that of the maps",
        "parents": parents,
        "classes": classes,
    }
    return make_vocabulary(raw, "change")


def _mixed(colour: str, other: str, share: float) -> str:
    pairs = zip(rgb(colour), rgb(other), strict=True)
    return "#" + "".join(f"{round((1 - share) * one + share * two):02x}" for one, two in pairs)


def change_probability(
    before: RankShares,
    before_places: np.ndarray,
    after: RankShares,
    after_places: np.ndarray,
    classes: int,
) -> np.ndarray:
    """The probability that the class of a pixel differs between two maps: float (y, x).

    It is 1 − Σ p(c) q(c) over the classes, where p and q are the probabilities of both maps, and
    says what it should if the errors of both are independent. What the kept ranks of a map leave is
    shared out evenly among its other classes.

    Args:
        before: The kept ranks of the earlier map.
        before_places: The classes of its ranks, int64 (rank, y, x), −1 for none.
        after: Those of the later map.
        after_places: Likewise; classes of both maps have the same places.
        classes: The number of classes of either map.
    """
    each_before, each_after = rest_each(before, classes), rest_each(after, classes)
    same = np.zeros(before.rest.shape)
    known_before, known_after = before_places >= 0, after_places >= 0
    in_both = np.zeros(same.shape)
    after_alone = np.where(known_after, after.shares, 0.0)
    for place, known, share in zip(before_places, known_before, before.shares, strict=True):
        met = np.zeros(same.shape, bool)
        for number in range(len(after_places)):
            meets = known & (after_places[number] == place)
            same += np.where(meets, share * after.shares[number], 0.0)
            after_alone[number][meets] = 0.0
            met |= meets
        in_both += met
        same += np.where(known & ~met, share * each_after, 0.0)
    same += after_alone.sum(axis=0) * each_before
    neither = classes - known_before.sum(axis=0) - known_after.sum(axis=0) + in_both
    same += np.maximum(neither, 0) * each_before * each_after
    return np.clip(1 - same, 0.0, 1.0)
