"""What is said of a run's labelled examples, in its folder and its report."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from pipeline.io.store import Store
from pipeline.layout import EXAMPLES_REPORT


@dataclass(frozen=True)
class ExampleReport:
    """The examples of a run, and what they did; the file `examples.json`.

    Attributes:
        fingerprint: The run's.
        label: The column that held the classes.
        by_class: Counts of the examples used, by the name of the class; all classes are there.
        given: How many points the file holds.
        unlabelled: Points without a label.
        outside: Points outside the region, or outside the cells whose embeddings are at hand.
        on_nodata: Points whose pixel has no embedding.
        weight: α, the weight of the examples; 0 if words alone were used.
        sharpness: β, how fast the weight of an example falls with 1 - cosine.
        block_km: The side of the blocks of land that were left out together, in km.
        judged: How many examples were judged while their block was left out.
        words_accuracy: The share that words alone find of these, as a mean over classes, 0 … 1.
        accuracy: The share that words and examples find.
        sha256: The hash (hex) of `examples.safetensors`; early versions wrote none.
    """

    fingerprint: str
    label: str
    by_class: Mapping[str, int]
    given: int
    unlabelled: int
    outside: int
    on_nodata: int
    weight: float
    sharpness: float
    block_km: float
    judged: int
    words_accuracy: float
    accuracy: float
    sha256: str = ""

    @property
    def used(self) -> int:
        """The number of examples."""
        return sum(self.by_class.values())

    @property
    def without(self) -> tuple[str, ...]:
        """The classes that have no example: they keep their words only."""
        return tuple(name for name, count in self.by_class.items() if not count)

    @property
    def summary(self) -> str:
        """What the examples did, in a sentence."""
        words, both = (f"{100 * share:.0f} %" for share in (self.words_accuracy, self.accuracy))
        judged = (
            f"{self.judged} of them, judged while their block of {self.block_km:.3g} km was left "
            "out"
        )
        if not self.judged:
            return (
                f"{self.used} examples; they lie too near to one another to be judged, or are of "
                "one class, so words alone were used."
            )
        if not self.weight:
            return (
                f"{self.used} examples; of {judged}, words alone found {words}, and no weight of "
                "the examples found clearly more, so words alone were used."
            )
        return (
            f"{self.used} examples were used with the weight {self.weight:g}; of {judged}, words "
            f"alone found {words}, words and examples {both} (means over classes)."
        )

    def write(self, store: Store) -> None:
        """Write `examples.json`. Raises OutputUnwritable where the storage refuses."""
        content = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        store.write(EXAMPLES_REPORT, content.encode() + b"\n")


def read_example_report(store: Store, fingerprint: str) -> ExampleReport | None:
    """The report in a run's folder; None where the run of this fingerprint has none."""
    if not store.exists(EXAMPLES_REPORT):
        return None
    try:
        report = TypeAdapter(ExampleReport).validate_json(store.read(EXAMPLES_REPORT), strict=True)
    except ValueError:  # no JSON, or fields of other types, as others may have written
        return None
    return report if report.fingerprint == fingerprint else None
