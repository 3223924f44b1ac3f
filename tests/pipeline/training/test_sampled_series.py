"""Series to learn from: drawn of a run's land as it is mapped, or read from a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.encoder.preprocessing import AUTHORS, Preprocessing
from models.encoder.timesenclip import TimeSenClipArchitecture
from models.errors import UserError
from pipeline.errors import OutputError
from pipeline.grid.cells import owned_pixels
from pipeline.mapping.run import PreparedRun
from pipeline.sample.archive import SampleArchive
from pipeline.training.sampled_series import SampledSeries, draw_series, series_of_file
from tests.made_card import made_card
from tests.pipeline.cell_runs import preparing, random_checkpoint
from tests.pipeline.mapping.test_cell_graph import plain_series

CARD = made_card(TimeSenClipArchitecture())
REVERSED = made_card(
    TimeSenClipArchitecture(),
    preprocessing=Preprocessing(
        bands=AUTHORS.bands[::-1],
        low=AUTHORS.low[::-1],
        high=AUTHORS.high[::-1],
        add=AUTHORS.add,
        gap_fill=AUTHORS.gap_fill,
        scl_keep=AUTHORS.scl_keep,
    ),
)


@pytest.fixture(scope="module")
def prepared(
    sample_archive: SampleArchive, tmp_path_factory: pytest.TempPathFactory
) -> PreparedRun:
    """A run that is planned, and of which nothing is mapped."""
    folder = tmp_path_factory.mktemp("drawn")
    checkpoint = random_checkpoint(folder / "random")
    # The plain way reads every acquisition, however little of it is clear.
    reading = {"least_clear": 0.0}
    return preparing(sample_archive, checkpoint, folder / "run")(reading=reading)


@pytest.fixture(scope="module")
def folder(prepared: PreparedRun) -> Path:
    return Path(prepared.run.store.root)


@pytest.fixture(scope="module")
def known(prepared: PreparedRun) -> set[bytes]:
    """The series of all pixels that the run maps, made the plain way."""
    found: set[bytes] = set()
    for cell in prepared.cells:
        items, keep = prepared.items_of(cell), prepared.run.reading.masking.keep
        series = np.stack([plain_series(items, b, cell, keep) for b in AUTHORS.bands], axis=-1)
        valid = (series > 0).all(axis=(0, 3)) & owned_pixels(cell, prepared.run.region)
        pixels = np.moveaxis(series, 0, 2)[valid].astype(np.uint16)
        found |= {one.tobytes() for one in pixels}
    return found


def test_a_file_may_lack_optional_bands(tmp_path: Path) -> None:
    series = np.full((4, 12, 10), 700, np.uint16)
    series[1, :, 7] = 0
    np.save(tmp_path / "s.npy", series)
    with pytest.raises(UserError, match="1 of its series hold zeros"):
        series_of_file(tmp_path / "s.npy", CARD)
    optional = replace(AUTHORS, optional_bands=("B8A",))
    card = made_card(TimeSenClipArchitecture(), preprocessing=optional)
    assert np.array_equal(series_of_file(tmp_path / "s.npy", card).series, series)
    series[2, 3, 7] = series[3, :, 0] = 0  # a gap, and a band that is needed
    np.save(tmp_path / "s.npy", series)
    with pytest.raises(UserError, match="2 of its series hold zeros"):
        series_of_file(tmp_path / "s.npy", card)


def test_pixels_are_those_that_are_mapped(
    folder: Path, prepared: PreparedRun, known: set[bytes]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    shares: list[float] = []
    drawn = draw_series(str(folder), CARD, 400, 4, 0, shares.append)
    assert drawn.series.shape == (400, 12, 10)
    assert drawn.series.dtype == np.uint16
    assert {one.tobytes() for one in drawn.series} <= known
    assert len({one.tobytes() for one in drawn.series}) > 300
    assert sorted(set(drawn.place)) == [0, 1, 2, 3]
    assert drawn.source.startswith("400 pixels of 4 blocks of run ")
    assert prepared.run.manifest.fingerprint[:12] in drawn.source
    assert shares == [0.25, 0.5, 0.75, 1.0]
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_seed_draws_the_same_and_bands_come_in_the_teachers_order(folder: Path) -> None:
    first, again = (draw_series(str(folder), CARD, 60, 2, 5) for _ in range(2))
    assert np.array_equal(first.series, again.series)
    assert not np.array_equal(first.series, draw_series(str(folder), CARD, 60, 2, 6).series)
    other = draw_series(str(folder), REVERSED, 60, 2, 5)
    assert np.array_equal(first.series, other.series[:, :, ::-1])


def test_geometric_medians_where_the_run_has_them(
    sample_archive: SampleArchive, tmp_path: Path, known: set[bytes]
) -> None:
    checkpoint = random_checkpoint(tmp_path / "random")
    reading = {"composite": "geometric-median"}
    preparing(sample_archive, checkpoint, tmp_path / "run")(reading=reading)
    drawn = draw_series(str(tmp_path / "run"), CARD, 40, 1, 0)
    assert drawn.series.min() > 0
    assert not {one.tobytes() for one in drawn.series} <= known


def test_held_out_places_lie_apart(folder: Path) -> None:
    drawn = draw_series(str(folder), CARD, 400, 4, 0)
    seen, held_out = drawn.split(0)
    assert (len(seen), len(held_out)) == (300, 100)
    one = draw_series(str(folder), CARD, 300, 1, 0)
    assert len(set(one.place)) == 5
    seen, held_out = one.split(0)
    assert len(seen) + len(held_out) == 300
    assert 20 < len(held_out) < 120
    lonely = SampledSeries(one.series, np.zeros(300, int), "a place")
    with pytest.raises(UserError, match="a place: its 300 series lie in one place"):
        lonely.split(0)


def test_runs_that_cannot_be_drawn_from(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no run here"):
        draw_series(str(tmp_path), CARD, 10, 1, 0)
    manifest = folder / "run.json"
    held = manifest.read_text()
    cloudy = held.replace('"keep_scl": null', '"keep_scl": [1]')
    assert cloudy != held
    manifest.write_text(cloudy)
    try:
        with pytest.raises(OutputError, match="no pixel of its region has a clear observation"):
            draw_series(str(folder), CARD, 10, 4, 0)
    finally:
        manifest.write_text(held)


def test_a_file_of_series(tmp_path: Path) -> None:
    series = np.random.default_rng(0).integers(1, 9000, (30, 12, 10)).astype(np.uint16)
    np.save(tmp_path / "series.npy", series)
    drawn = series_of_file(tmp_path / "series.npy", CARD)
    assert np.array_equal(drawn.series, series)
    assert drawn.source == "30 series of series.npy"
    seen, held_out = drawn.split(0)
    assert (len(seen), len(held_out)) == (24, 6)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.ones((5, 12, 9), np.uint16), r"it is of shape \(5, 12, 9\)"),
        (np.ones((0, 12, 10), np.uint16), r"it is of shape \(0, 12, 10\)"),
        (np.ones((12, 10), np.uint16), r"it is of shape \(12, 10\)"),
        (np.ones((5, 12, 10), np.float32), "it is float32"),
        (np.full((5, 12, 10), np.nan, np.float32), "it is float32 and holds NaN"),
        (np.ones((5, 12, 10), np.int16), "it is int16"),
        (np.zeros((5, 12, 10), np.uint16), "5 of its series hold zeros"),
        (np.array([{"a": 1}], dtype=object), "it holds no array of numbers"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, array: np.ndarray, problem: str) -> None:
    np.save(tmp_path / "series.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=problem) as raised:
        series_of_file(tmp_path / "series.npy", CARD)
    assert "uint16 (n, 12, 10): B02, B03" in str(raised.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("not numbers")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "claims.npy", np.ones((1, 12, 10), np.uint16))
    claims = (tmp_path / "claims.npy").read_bytes()
    (tmp_path / "claims.npy").write_bytes(claims.replace(b"(1, 12", b"(10000000000000, 12"))
    np.savez(tmp_path / "several.npz", a=np.ones(3), b=np.ones(3))
    for name, problem in (
        ("none.npy", "cannot be read"),
        ("text.npy", "no array of numbers"),
        ("empty.npy", "no array of numbers"),
        ("claims.npy", "no array of numbers"),
        ("several.npz", "it holds several arrays"),
    ):
        with pytest.raises(UserError, match=problem):
            series_of_file(tmp_path / name, CARD)
