"""What is run: a map, a classification or a pretraining, and the command that runs it."""

from dataclasses import dataclass, replace
from typing import Literal

WORDS = {
    "first": "broad-leaved woodland, lake or river, potato field, meadow",
    "turned": "meadow, potato field, lake or river, broad-leaved woodland",
}
"""The same four classes in two orders: taken for each other, every pixel would be wrong."""

CELLS = 6
REGION = "5.995,49.610,6.004,49.614"
"""A region of six cells of 64 pixels in the sample archive: of four tiles, in two UTM zones."""

YEAR = 2021


@dataclass(frozen=True)
class Job:
    """What a command makes.

    Attributes:
        flow: The flow.
        words: The classes, by a key of WORDS.
        source: The catalogue of a map, the run that is classified, or the training set.
        cluster: "threads", "local" (of so many `workers`) or a scheduler's address.
        strict: Whether a raster that cannot be read fails its cell.
        remote: Whether the product goes to S3.
        keep_embeddings: Whether a map keeps them, so that it can be classified.
    """

    flow: Literal["plan", "map", "classify", "pretrain"]
    source: str
    words: str = "first"
    cluster: str = "threads"
    workers: int = 2
    strict: bool = False
    remote: bool = False
    keep_embeddings: bool = False

    @property
    def undisturbed(self) -> "Job":
        """The job whose product this job's must equal: where it computes changes no byte."""
        flow = "map" if self.flow == "plan" else self.flow
        return replace(self, flow=flow, cluster="threads", workers=2)

    def arguments(self, out: str) -> list[str]:
        """The arguments of `timesen`."""
        if self.flow == "pretrain":
            return [
                *("pretrain", self.source, "--out", out, "--dim", "16", "--depth", "1"),
                *("--heads", "2", "--feedforward", "16", "--batch", "32", "--memory-bank", "64"),
                *("--steps", "30", "--rate", "0.003", "--save-every", "5"),
                *("--validate-every", "15", "--threads", "1", "--device", "cpu"),
            ]
        where = ["--out", out, "--classes", WORDS[self.words]]
        if self.flow == "classify":
            return ["classify", self.source, *where]
        where += ["--cluster", self.cluster]
        if self.cluster == "local":
            where += ["--workers", str(self.workers), "--threads", "1"]
        return [
            *(self.flow, "--region", REGION, "--year", str(YEAR), "--catalog", self.source),
            *("--checkpoint", "sample", "--cell-size", "64", "--cells-in-flight", "2", *where),
            *("--lease-seconds", "10"),
            *(["--strict"] if self.strict else []),
            *(["--keep-embeddings"] if self.keep_embeddings else []),
        ]
