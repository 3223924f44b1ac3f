"""A student beside its teacher: throughput, and the share of equal classes.

`python -m tests.benchmarks.bench_student`; about twenty minutes on two cores. Writes
tests/benchmarks/results/student.md. The teacher has the paper's sizes and is trained here, on made
series; `--teacher FOLDER` takes it from there where it was trained before, or keeps it there.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from models.distillation import label_series, student_architecture, train_student
from models.encoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.encoder.inference import PixelEncoder, embed_all
from models.encoder.preprocessing import BANDS
from models.encoder.timesenclip import TimeSenClipArchitecture
from models.towers.text_embeddings import TextEmbeddings, embed_for_checkpoint
from models.vocabulary.vocabulary import Vocabulary, load_vocabulary
from pipeline.real_land.belgium import NO_OBSERVATION, read_patch
from pipeline.sample.series import sample_series
from pipeline.sample.train import train_sample_encoder
from pipeline.training.distillation_report import StudentAgreement, student_agreement, student_card
from tests.benchmarks.real_series import TABLES, read_real_series

RESULT = Path(__file__).parent / "results" / "student.md"
COMMAND = "python -m tests.benchmarks.bench_student"
SHARPENED, OTHER = "lucas-land-cover", "sample-landscape"
_SHARED = Path(os.environ.get("TIMESEN_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
_CPU = torch.device("cpu")
_THREADS, _TURNS = 2, 5
_TEACHER_STEPS, _TEACHER_BATCH, _TEACHER_RATE, _TEACHER_PIXELS = 400, 128, 4e-4, 48_000
_STUDENT_SEED, _STUDENT_PIXELS, _BANK, _STEPS, _BATCH = 3000, 30_000, 60_000, 2000, 512
_UNSEEN_SEED, _UNSEEN_PIXELS = 4000, 6000
_SECONDS = 2.0  # that one turn of an encoder takes at least


@dataclass(frozen=True)
class Way:
    """A way to encode: its name, and its function from series uint16 (n, 12, band)."""

    name: str
    embed: Callable[[np.ndarray], object]
    parameters: int


def made_teacher(folder: Path) -> Checkpoint:
    """The teacher in a folder; trained first where it is empty."""
    if not folder.exists():
        config = TimeSenClipArchitecture(embedding_dim=384)  # of the offline text tower
        encoder, card = train_sample_encoder(
            _TEACHER_STEPS,
            _TEACHER_PIXELS,
            config=config,
            batch=_TEACHER_BATCH,
            rate=_TEACHER_RATE,
        )
        card = card.model_copy(update={"name": "teacher of the paper's sizes"})
        save_checkpoint(folder, encoder, card)
    return load_checkpoint(folder)


def made_student(
    teacher: Checkpoint, series: np.ndarray, text: TextEmbeddings, folder: Path
) -> tuple[Checkpoint, Mapping[str, float]]:
    """A student of default sizes, and the core-minutes that labelling and training took."""
    config = student_architecture(teacher.card)
    began = time.process_time()
    bank = label_series(teacher, series, _BANK, 0)
    labelled = time.process_time()
    encoder = train_student(
        bank, teacher.card, config,
        steps=_STEPS, batch=_BATCH, seed=0, text=text,
    )  # fmt: skip
    minutes = {
        "labelling": (labelled - began) / 60,
        "training": (time.process_time() - labelled) / 60,
    }
    nothing = StudentAgreement(SHARPENED, 0, 0.0, 0.0, ())
    save_checkpoint(folder, encoder, student_card("student", teacher, config, {}, nothing))
    return load_checkpoint(folder), minutes


def throughput(ways: list[Way], series: np.ndarray) -> dict[str, list[float]]:
    """Pixels per second of each way, in turns; one thread per core, as runs encode."""
    torch.set_num_threads(1)
    counts = {}
    for way in ways:
        way.embed(series[:1024])  # the first is slow
        began = time.perf_counter()
        way.embed(series[:1024])
        rate = 1024 / (time.perf_counter() - began)
        counts[way.name] = min(len(series), max(1024, int(rate * _SECONDS)))
    found: dict[str, list[float]] = {way.name: [] for way in ways}
    with ThreadPoolExecutor(_THREADS) as pool:
        for turn in range(_TURNS + 1):
            for way in ways:
                part = series[: counts[way.name]]
                began = time.perf_counter()
                for done in [pool.submit(way.embed, part) for _ in range(_THREADS)]:
                    done.result()
                if turn:  # a thread's first is slow
                    rate = _THREADS * len(part) / (time.perf_counter() - began)
                    found[way.name].append(rate)
    return found


def plain(checkpoint: Checkpoint) -> Callable[[np.ndarray], object]:
    """The encoder's plain module in eval mode, in batches as the fast one's."""

    @torch.inference_mode()
    def embed(series: np.ndarray) -> object:
        normalise = checkpoint.card.preprocessing.normalise
        return [
            checkpoint.encoder(normalise(series[i : i + 128])) for i in range(0, len(series), 128)
        ]

    return embed


def throughput_table(ways: list[Way], found: Mapping[str, list[float]]) -> Iterator[str]:
    """A Markdown table, one line per way; ratios are medians of those within a turn."""
    first = found[ways[0].name]
    yield "| encoder | parameters | pixels/s (median) | ratio to the plain module |"
    yield "|---|---:|---:|---:|"
    for way in ways:
        ratio = median(own / one for own, one in zip(found[way.name], first, strict=True))
        yield (
            f"| {way.name} | {way.parameters:,} | {median(found[way.name]):,.0f} | {ratio:.1f} |"
        )


def patch_series(shared: Path) -> np.ndarray:
    """The Belgian patch as a run would deliver it, as `read_real_series`: uint16 (n, 12, 10)."""
    patch = read_patch(shared).sortby("t.month")
    stored = ["B08" if band == "B8A" else band for band in BANDS]
    values = np.stack([patch[f"S2-L2A-{band}"].values for band in stored], axis=-1)
    series = np.moveaxis(values, 0, 2).reshape(-1, 12, len(BANDS)).astype(float)
    series[series == NO_OBSERVATION] = np.nan
    series = np.where(np.isnan(series), np.nanmedian(series, axis=1, keepdims=True), series)
    whole = ~np.isnan(series).any(axis=(1, 2))
    return np.maximum(series[whole], 1).round().astype(np.uint16)


def agreement_table(found: Mapping[str, Mapping[str, StudentAgreement]]) -> Iterator[str]:
    """A Markdown table, one line per set of series, one column per vocabulary."""
    names = list(next(iter(found.values())))
    yield "| series | n | mean cosine | " + " | ".join(names) + " |"
    yield "|---|---:|---:|" + "---:|" * len(names)
    for place, by_vocabulary in found.items():
        first = by_vocabulary[names[0]]
        shares = " | ".join(f"{by_vocabulary[name].same:.1%}" for name in names)
        yield f"| {place} | {first.pixels:,} | {first.cosine:.4f} | {shares} |"


def class_table(found: Mapping[str, StudentAgreement]) -> Iterator[str]:
    """A Markdown table, one line per class, one column per set: share and (number of series)."""
    classes = dict.fromkeys(c.name for one in found.values() for c in one.by_class)
    yield "| the teacher's class | " + " | ".join(found) + " |"
    yield "|---|" + "---:|" * len(found)
    for name in classes:
        cells = [
            next((f"{c.same:.1%} ({c.pixels:,})" for c in one.by_class if c.name == name), "–")
            for one in found.values()
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"


def agreements(
    teacher: Checkpoint, student: Checkpoint, places: Mapping[str, np.ndarray]
) -> dict[str, dict[str, StudentAgreement]]:
    """The agreement of both, by set of series and vocabulary."""
    vocabularies = {name: load_vocabulary(name) for name in (SHARPENED, OTHER)}
    texts = {name: embed_for_checkpoint(v, teacher.card) for name, v in vocabularies.items()}
    scale = teacher.card.logit_scale
    found = {}
    for place, series in places.items():
        _say(f"{len(series):,} series: {place} …")
        both = [embed_all(checkpoint, series) for checkpoint in (teacher, student)]
        found[place] = {
            name: student_agreement(both[0], both[1], vocabulary, texts[name], scale)
            for name, vocabulary in vocabularies.items()
        }
    return found


def document(
    teacher: Checkpoint,
    speed: str,
    found: Mapping[str, Mapping[str, StudentAgreement]],
    minutes: Mapping[str, float],
    notice: str,
) -> str:
    """The whole result, Markdown."""
    shape = teacher.card.architecture
    assert isinstance(shape, TimeSenClipArchitecture)
    training = teacher.card.training
    spent = ", ".join(f"{stage} {value:.1f}" for stage, value in minutes.items())
    return f"""# A student

Made by `{COMMAND}` on {os.cpu_count()} cores ({platform.machine()}, Linux). The teacher has the
paper's sizes ({shape.depth} layers, {shape.dim} wide) and was trained for {training["minutes"]}
minutes on made series; of the twelve classes it finds
{teacher.card.metrics["accuracy, 12 classes, names"]:.0%}. The student has the default sizes of
`timesen distil` and learned from {_STUDENT_PIXELS:,} other made series ({_BANK:,} in the bank,
{_STEPS} steps of {_BATCH}), sharpened for {SHARPENED}. Core-minutes: {spent}.

## Throughput

A thread on each of {_THREADS} cores, {_TURNS} interleaved turns; "fast" is what mapping runs call
(`PixelEncoder`).

{speed}

## Classes that teacher and student agree on

Series that the student never learned from: made ones of another seed, and measured ones. It was not
sharpened for {OTHER}.{notice}

{chr(10).join(agreement_table(found))}

{SHARPENED}, by class: share (series).

{chr(10).join(class_table({place: one[SHARPENED] for place, one in found.items()}))}
"""


def main() -> None:
    """Make teacher and student, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--teacher", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    torch.set_num_threads(_THREADS)
    places = {f"made, seed {_UNSEEN_SEED}": sample_series(_UNSEEN_SEED, _UNSEEN_PIXELS)[1]}
    notice = ""
    if (_SHARED / "PROVENANCE.md").is_file():
        places["Belgium 2021, 1 km²"] = patch_series(_SHARED)
        places |= {table: read_real_series(_SHARED, table)[0] for table in TABLES}
    else:
        notice = " No measured ones were at hand."
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _say("The teacher …")
        teacher = made_teacher(arguments.teacher or folder / "teacher")
        vocabulary: Vocabulary = load_vocabulary(SHARPENED)
        text = embed_for_checkpoint(vocabulary, teacher.card)
        _say("The student …")
        series = sample_series(_STUDENT_SEED, _STUDENT_PIXELS)[1]
        student, minutes = made_student(teacher, series, text, folder / "student")
    found = agreements(teacher, student, places)
    _say("Throughput …")
    ways = [
        Way("the teacher's plain module", plain(teacher), _size(teacher)),
        Way("the teacher, fast", PixelEncoder(teacher, _CPU).embed, _size(teacher)),
        Way("the student, fast", PixelEncoder(student, _CPU).embed, _size(student)),
    ]
    speed = "\n".join(throughput_table(ways, throughput(ways, np.tile(series, (4, 1, 1)))))
    result = document(teacher, speed, found, minutes, notice)
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(result)
    print(result)


def _size(checkpoint: Checkpoint) -> int:
    return sum(tensor.numel() for tensor in checkpoint.encoder.state_dict().values())


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
