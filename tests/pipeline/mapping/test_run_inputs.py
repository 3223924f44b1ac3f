"""What `plan` and `map` say of a run before it is computed."""

from pathlib import Path
from typing import Any

import pytest

from models.vocabulary.vocabulary import load_vocabulary
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.run_inputs import run_inputs
from pipeline.sample.archive import SampleArchive
from pipeline.settings.map import make_settings


@pytest.fixture
def lines(sample_archive: SampleArchive, tmp_path: Path) -> Any:
    def made(**changes: Any) -> dict[str, str]:
        settings = {
            "region": sample_archive.region,
            "year": sample_archive.year,
            "catalog": {"url": str(sample_archive.folder)},
            "out": str(tmp_path / "run"),
        }
        text = run_inputs(prepare_run(make_settings(settings | changes)))
        return {line[:15].strip(): line[15:] for line in text.splitlines()}

    return made


def test_a_run_by_words(lines: Any, sample_archive: SampleArchive) -> None:
    assert lines(classes="wheat field, lake", background="town", checkpoint="sample") == {
        "checkpoint": "sample (for demonstration): For demonstration only: trained in minutes on "
        "made series of twelve classes, not on measurements.",
        "classes": "3: wheat field, lake, none of these",
        "catalogue": f"{sample_archive.folder}, collection sentinel-2-l2a",
        "period": "January to December 2021: the median of each month",
    }


def test_a_run_by_a_long_vocabulary_over_two_years(
    lines: Any, sample_archive: SampleArchive
) -> None:
    said = lines(
        vocabulary="eunis-habitats", first_month=7, year=sample_archive.year - 1, steps=4,
        level="class", reading={"composite": "geometric-median"},
    )  # fmt: skip
    assert said["checkpoint"].startswith("real-land: Trained on 23,000 labelled pixels of France,")
    assert said["period"] == "July 2020 to June 2021: the geometric median of each season"
    names = [entry.name for entry in load_vocabulary("eunis-habitats").classes]
    count, listed = said["classes"].split(": ", 1)
    shown = max(n for n in range(len(names)) if listed.startswith(", ".join(names[:n])))
    assert (int(count), shown > 1) == (len(names), True)
    assert listed == (
        f"{', '.join(names[:shown])} and {len(names) - shown} more (vocabulary eunis-habitats)"
    )
