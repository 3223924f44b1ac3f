"""`timesen dataset photos`, `texts`, `pack` and `show`: from photos and words to a training set."""

import csv
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flows.cli.main import run
from models.towers.image_tower import ClipImageTower
from pipeline.ground_views.photos import embed_photos, lucas_photos
from pipeline.ground_views.table import GroundTable
from pipeline.io.store import Store
from pipeline.training_set.loader import TrainingSet
from tests.flows.conftest import Shell, connected, end_when
from tests.pipeline.training_set.test_pack import write_series
from tests.s3_server import s3
from tests.tiny_clip import DIM, jpeg, photo, save_tiny_clip

__all__ = ["s3"]

IDS = [f"p{number}" for number in range(60)]
KEYS = [f"FR_{1000 + number}" for number in range(60)]


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of 55 of the points and of two that are none; some directions are missing."""
    folder = tmp_path_factory.mktemp("photos")
    for number, key in enumerate([*KEYS[:55], "BE_1", "BE_2"]):
        for place, view in enumerate("NESW"[: 1 + number % 4]):
            path = folder / key[:2] / f"{key}{view}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(jpeg(photo(4 * number + place)))
    (folder / "FR" / f"{KEYS[3]}N.jpg").write_bytes(b"not a photo")
    whole = (folder / "FR" / f"{KEYS[4]}N.jpg").read_bytes()
    (folder / "FR" / f"{KEYS[4]}N.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "FR" / f"{KEYS[5]}P.jpg").write_bytes(whole)  # of the point itself
    return folder


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series") / "table"
    write_series(str(folder), IDS, photo_keys=KEYS)
    return folder


@pytest.fixture(scope="module")
def ground(photos: Path, tower: str, tmp_path_factory: pytest.TempPathFactory, users_server: str
           ) -> Path:  # fmt: skip
    """The photos' table, by a worker process."""
    out = tmp_path_factory.mktemp("ground") / "table"
    command = ["dataset", "photos", str(photos), "--tower", tower, "--out", str(out)]
    with connected(users_server):
        assert run([*command, "--attribution", "me", "--cluster", "local", "--workers", "1"]) == 0
    return out


def _rows(address: Path | str) -> pa.Table:
    rows = pa.concat_tables(GroundTable.open(str(address)).tables())
    return rows.sort_by([("id", "ascending"), ("view", "ascending")])


def test_photos_are_embedded_by_workers_as_here(ground: Path, photos: Path, tower: str) -> None:
    table = GroundTable.open(str(ground))
    source = Store(str(photos))
    plain, _ = embed_photos(source, lucas_photos(source)[0], ClipImageTower(tower))
    rows = _rows(ground)
    assert rows.drop(["embedding"]) == plain.drop(["embedding"])
    stored, wanted = (of["embedding"].combine_chunks().flatten().to_numpy() for of in (rows, plain))
    np.testing.assert_allclose(stored, wanted, atol=1e-3)
    card = table.card
    assert (card.kind, card.dim, card.tower) == ("photos", DIM, tower)
    assert card.revision == ClipImageTower(tower).revision
    assert card.attribution == "me"
    assert card.rows == rows.num_rows == card.made["given"] - 2
    assert card.left_out == {"photos without a direction": 1, "damaged": 1, "not a photo": 1}
    with (ground / "unreadable.csv").open() as file:
        unreadable = {row["photo"]: row["reason"] for row in csv.DictReader(file)}
    assert unreadable[f"FR/{KEYS[3]}N.jpg"] == "not a photo"
    assert unreadable[f"FR/{KEYS[4]}N.jpg"].startswith("damaged: ")
    assert len(unreadable) == 2


def test_started_again_embeds_only_what_is_left(
    photos: Path, tower: str, tmp_path: Path, users_server: str, ground: Path
) -> None:
    """In parts of 20, one of which is taken away: the others stay as they are."""
    from flows.dataset_photos import dataset_photos
    from flows.settings.dataset import PhotoSettings

    settings = PhotoSettings(
        photos=str(photos), out=str(tmp_path / "out"), tower=tower, part_size=20
    )
    with connected(users_server):
        first = dataset_photos(settings)
        parts = sorted((tmp_path / "out").glob("part-*"))
        assert len(parts) == -(-first.made["given"] // 20)
        before = {part: part.stat().st_mtime_ns for part in parts}
        parts[2].unlink()
        (tmp_path / "out" / "ground.json").unlink()
        again = dataset_photos(settings)
        changed = [p for p in parts if p.stat().st_mtime_ns != before[p]]
        assert changed == [parts[2]]
        assert again.model_copy(update={"created": first.created}) == first
        assert dataset_photos(settings) == again  # finished: nothing is done
    assert _rows(tmp_path / "out") == _rows(ground)


@pytest.mark.slow
def test_killed_in_the_middle_goes_on(
    photos: Path, tower: str, tmp_path: Path, shell: Shell, ground: Path, users_server: str
) -> None:
    many = tmp_path / "many"
    shutil.copytree(photos, many)
    whole = next((photos / "BE").iterdir()).read_bytes()
    for number in range(400):
        (many / f"LU_{number}N.jpg").write_bytes(whole)
    out = tmp_path / "out"
    command = ["dataset", "photos", str(many), "--tower", tower, "--out", str(out)]
    started = shell.timesen(*command, PREFECT_API_URL=users_server)
    end_when(shell, started, signal.SIGKILL, lambda: len(list(out.glob("part-*"))) >= 1)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert not (out / "ground.json").exists()
    again = shell.timesen(*command, PREFECT_API_URL=users_server)
    said, wrong = again.communicate(timeout=240)
    assert again.returncode == 0, wrong
    assert "Left out  1: not a photo" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    rows = _rows(out)
    there = pa.compute.starts_with(rows["id"], "LU_")
    assert rows.filter(pa.compute.invert(there)) == _rows(ground)


def test_from_object_storage_into_object_storage(
    photos: Path, tower: str, users_server: str, s3: str, ground: Path
) -> None:
    source = Store(str(photos))
    for key in source.keys(""):
        Store(f"{s3}/photos").write(key, source.read(key))
    command = ["dataset", "photos", f"{s3}/photos", "--tower", tower, "--out", f"{s3}/ground"]
    with connected(users_server):
        assert run(command) == 0
    assert _rows(f"{s3}/ground") == _rows(ground)


def test_a_table_of_photos_with_classes(
    photos: Path, tower: str, tmp_path: Path, users_server: str
) -> None:
    table = tmp_path / "photos.csv"
    table.write_text(
        f"photo,id,class\nFR/{KEYS[0]}N.jpg,p0,maize\nFR/{KEYS[1]}E.jpg,p1,maize\n"
        f"FR/{KEYS[2]}E.jpg,p1,\nnowhere.jpg,p2,maize\n"
    )
    out = tmp_path / "out"
    with connected(users_server):
        command = ["dataset", "photos", str(photos), "--table", str(table), "--tower", tower]
        assert run([*command, "--out", str(out)]) == 0
    rows = _rows(out)
    assert rows["id"].to_pylist() == ["p0", "p1", "p1"]
    keys = rows["key"].to_pylist()
    assert keys[0] == keys[1] >= 0
    assert keys[2] == -1
    assert GroundTable.open(str(out)).card.left_out == {"there is no such file": 1}


def test_photos_become_a_training_set(
    ground: Path, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    command = ["dataset", "pack", str(series), "--ground", str(ground), "--out", str(out)]
    assert run([*command, "--block-km", "25", "--shares", "0.6", "0.2", "0.2"]) == 0
    said = capsys.readouterr().out
    card = TrainingSet.open(str(out)).card
    assert f"Fingerprint   {card.fingerprint}" in said
    assert "Left out      2: ground view of no series" in said  # the Belgian points
    assert "Left out      6: no ground view" in said  # 5 without photos, 1 whose one is damaged
    assert card.attribution == ("of series", "me")
    assert run(["dataset", "show", str(out)]) == 0
    shown = capsys.readouterr().out
    for text in (
        "Ground        photos, up to 4 per point, 12 numbers each",
        card.ground.revision,
        "by blocks of 25 km, 1 km apart, seed 0",
        "Attribution   me",
        "6: no ground view",
        card.fingerprint,
    ):
        assert text in shown
    lines = [line.split() for line in shown.splitlines()]
    for split in ("train", "validation", "test"):
        assert [split, str(card.rows(split))] in [line[:2] for line in lines]
    for name in ("wood", "water"):
        counts = [str(card.counts["cover"][part].get(name, 0)) for part in card.splits]
        assert [name, *counts] in lines
    mean = f"{card.statistics.mean[9]:.0f}"
    assert any(line[:1] == ["B12"] and line[4] == mean for line in lines)


def test_words_become_a_training_set(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "words.csv"
    lines = ["plot,words,crop"]
    for number, name in enumerate(IDS):
        crop = ("wheat", "maize", "rape")[number % 3]
        lines += [f"{name},a field of {crop},{crop}", f"{name},{crop} grows here,{crop}"]
    table.write_text("\n".join([*lines, "q1,nowhere,none", "p1,,maize"]))
    words, out = tmp_path / "words", tmp_path / "set"
    columns = ["--id-column", "plot", "--text-column", "words", "--class-column", "crop"]
    assert run(["dataset", "texts", str(table), "--out", str(words), *columns]) == 0
    said = capsys.readouterr().out
    assert f"Ground    121 texts of 61 points: {words}" in said
    assert "Left out  1: no text" in said
    assert run(["dataset", "texts", str(table), "--out", str(words), *columns]) == 0
    assert "121 texts" in capsys.readouterr().out
    pack = ["dataset", "pack", str(series), "--ground", str(words), "--out", str(out)]
    assert run([*pack, "--block-km", "25"]) == 0
    dataset = TrainingSet.open(str(out))
    assert dataset.card.left_out["ground view of no series"] == 1
    batch = next(dataset.batches("train", batch=30, seed=0, epoch=0))
    assert batch.ground.shape == (30, 2, 384)
    assert batch.present.all()
    assert (batch.keys[:, 0] == batch.keys[:, 1]).all()
    assert len(np.unique(batch.keys)) == 3
    same = batch.keys[:, 0] == batch.keys[0, 0]
    np.testing.assert_array_equal(
        batch.ground[same][0][np.argsort(batch.ground[same][0][:, 0])],
        batch.ground[same][1][np.argsort(batch.ground[same][1][:, 0])],
    )


def test_what_may_go_wrong(
    photos: Path, ground: Path, series: Path, tower: str, tmp_path: Path, users_server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "words.csv").write_text("id,text\np1,wood\n")
    out, words = ["--out", str(tmp_path / "out")], str(tmp_path / "words.csv")
    pack = ["pack", str(series), "--ground", str(ground)]
    with connected(users_server):
        for arguments, problem in (
            (
                ["photos", str(empty), "--tower", tower, *out],
                "has a name as in LUCAS",
            ),
            (["photos", str(photos), "--tower", "clip:./no", *out], "there is no such folder"),
            (["photos", str(photos), "--tower", "sentence:x", *out], "no such image tower"),
            (["photos", str(photos), "--tower", tower, "--out", str(photos)], "is not empty"),
            (["photos", "s3://k:s@bucket/x", "--tower", tower, *out], "may hold a secret"),
            (["texts", words, *out, "--text-column", "said"], "it has no column said"),
            (["texts", words, *out, "--tower", "x"], "no such text tower"),
            ([*pack, *out, "--block-km", "2000"], "leaves"),
            (
                [*pack, *out, "--block-km", "25", "--shares", "1", "1", "0"],
                "three shares whose sum is 1",
            ),
            (
                [*pack, *out, "--block-km", "-1"],
                "split.block_km: '-1' is given, and it must be 0.1 or more",
            ),
            (["pack", str(ground), "--ground", str(ground), *out], "no finished series table"),
            (["show", str(ground)], "there is no finished training set here"),
        ):
            assert run(["dataset", *arguments]) == 2, arguments
            said = capsys.readouterr().err
            assert said.startswith("Error: ")
            assert problem in said
            assert "k:s" not in said
    assert not (tmp_path / "out").exists()
