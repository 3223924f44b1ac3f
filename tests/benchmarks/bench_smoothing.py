"""What smoothing does to a map's agreement with the truth, and what it costs.

`python -m tests.benchmarks.bench_smoothing [--work FOLDER]` maps the sample archive, whose truth is
known, and the real square kilometre of Belgium, beside WorldCereal's cropland, then smooths both in
each way. Writes tests/benchmarks/results/smoothing.md.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from flows.cli.map import run_map
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.derived.changed_area import changed_area
from pipeline.derived.derived_run import open_source_run
from pipeline.derived.lattice import CellLattice
from pipeline.derived.smooth import smooth_run
from pipeline.derived.smoothing import (
    BayesianSmoothing,
    MajoritySmoothing,
    Smoothing,
    UnitSmoothing,
)
from pipeline.derived.transitions import match_transitions
from pipeline.product.layers import TOP_CLASSES, TOP_CONFIDENCES
from pipeline.product.rank_shares import rank_shares
from pipeline.real_land.belgium import read_cropland
from pipeline.sample.agreement import agreement_with_truth
from pipeline.sample.archive import write_archive
from pipeline.settings.map import make_settings
from tests.benchmarks.belgium import SHARED, map_patch, patch_classes

RESULT = Path(__file__).resolve().parent / "results" / "smoothing.md"
METHODS: dict[str, Smoothing] = {
    "`--majority 3`": MajoritySmoothing(3),
    "`--majority 5`": MajoritySmoothing(5),
    "`--majority 7`": MajoritySmoothing(7),
    "`--min-unit 0.05`": UnitSmoothing(0.05),
    "`--min-unit 0.1`": UnitSmoothing(0.1),
    "`--min-unit 0.5`": UnitSmoothing(0.5),
    "`--bayes`": BayesianSmoothing(),
    "`--bayes --smoothness 5`": BayesianSmoothing(smoothness=5.0),
    "`--bayes --smoothness 50`": BayesianSmoothing(smoothness=50.0),
    "`--bayes --window 5`": BayesianSmoothing(window=5),
    "`--bayes --window 9`": BayesianSmoothing(window=9),
    "`--bayes --fraction 0.5`, as sits": BayesianSmoothing(fraction=0.5),
    "`--bayes --smoothness 5 --fraction 0.5`": BayesianSmoothing(smoothness=5.0, fraction=0.5),
}
TIMED = 1024  # pixels a side of the land that each way is timed on


def map_sample(folder: Path) -> tuple[Path, Path]:
    """Map the sample archive with eight ranks; gives the archive's and the run's folder."""
    archive, out = folder / "archive", folder / "sample"
    made = write_archive(archive)
    settings = make_settings(
        {
            "region": made.region,
            "year": made.year,
            "vocabulary": "sample-landscape",
            "checkpoint": "sample",
            "catalog": {"url": str(archive)},
            "top_k": 8,
            "out": str(out),
        }
    )
    if run_map(settings):
        raise SystemExit(1)
    return archive, out


def changed_share(raw: Path, smooth: Path) -> float:
    """The share of the map's area whose class smoothing changed."""
    before, after = open_source_run(str(raw)), open_source_run(str(smooth))
    transitions = match_transitions(before.vocabulary, after.vocabulary, None, str(smooth))
    area = changed_area(before, CellLattice(after.store, after.items), transitions, lambda *_: None)
    return area.changed / float(area.hectares.sum())


def seconds_of(raw: Path, method: Smoothing) -> float:
    """CPU seconds per million pixels of a way, on the sample's largest cell laid side by side."""
    source = open_source_run(str(raw))
    item = max(source.items, key=lambda one: int(np.prod(one["properties"]["proj:shape"])))
    lattice = CellLattice(source.store, source.items)
    found = lattice.around(item, 0, (TOP_CLASSES, TOP_CONFIDENCES))
    side = TIMED + 2 * method.halo
    classes, percents = (
        np.tile(found[name], (1, *(-(-side // n) for n in found[name].shape[1:])))[:, :side, :side]
        for name in (TOP_CLASSES.name, TOP_CONFIDENCES.name)
    )
    began = time.process_time()
    ranks = rank_shares(classes, percents[: len(classes)], source.vocabulary.none_value)
    method.smooth(ranks, source.vocabulary, 8)
    return 1e6 * (time.process_time() - began) / TIMED**2


def measure(shared: Path, folder: Path) -> list[tuple[str, float, float, float, float]]:
    """By way of smoothing: agreement with both truths, changed share, CPU seconds per Mpx."""
    archive, sample = map_sample(folder)
    words, reference = load_vocabulary("sample-landscape"), read_cropland(shared).values
    patch = map_patch(shared, folder / "belgium", "real-land")
    mapped = patch >= 0
    belgium = folder / "belgium" / "map"
    truth = agreement_with_truth(sample, archive, words).accuracy
    rows = [("raw", truth, float((patch == reference)[mapped].mean()), 0.0, 0.0)]
    for number, (name, method) in enumerate(METHODS.items()):
        made, real = folder / f"sample-{number}", folder / f"belgium-{number}"
        smooth_run(open_source_run(str(sample)), method, str(made))
        smooth_run(open_source_run(str(belgium)), method, str(real))
        right = agreement_with_truth(made, archive, words).accuracy
        agrees = float((patch_classes(shared, real) == reference)[mapped].mean())
        rows.append((name, right, agrees, changed_share(sample, made), seconds_of(sample, method)))
    return rows


def table(rows: list[tuple[str, float, float, float, float]]) -> str:
    """The figures as Markdown."""
    lines = [
        f"| {name} | {right:.1%} | {agrees:.1%} | {changed:.1%} | {spent:.1f} |"
        for name, right, agrees, changed, spent in rows
    ]
    return "\n".join(
        [
            "# Smoothing",
            "",
            "Made by `python -m tests.benchmarks.bench_smoothing`: the sample landscape (twelve "
            "classes, checkpoint `sample`, eight ranks) beside its truth, and a square kilometre "
            "of Belgium (two classes, checkpoint `real-land`) beside WorldCereal's cropland, which "
            "is a map itself. Changed: the share of the sample's area whose class smoothing "
            "changed. CPU seconds are of the smoothing alone. The defaults of `--bayes` are "
            "`--window 7 --smoothness 20 --fraction 1`.",
            "",
            "| way | sample: right | Belgium: agrees | changed | CPU s per Mpx |",
            "|---|---:|---:|---:|---:|",
            *lines,
            "",
        ]
    )


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="a new folder that is kept")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    shared = Path(os.environ.get("TIMESEN_TEST_DATA", SHARED))
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        document = table(measure(shared, work))
    arguments.out.write_text(document)
    print(document)


if __name__ == "__main__":
    main()
