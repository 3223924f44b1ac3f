"""`timesen evaluate`: a checkpoint on a training set and a table, and a run at points."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import s3fs
import torch

from flows.cli.main import run
from pipeline.errors import OutputUnwritable
from pipeline.evaluation.tables import write_evaluation_report
from pipeline.io.store import Store
from pipeline.product.committed_cells import finished_items
from pipeline.product.ledger import read_run
from tests.flows.conftest import Shell, connected
from tests.pipeline.evaluation.made_samples import made_samples, write_set, write_table
from tests.s3_server import s3

__all__ = ["s3"]  # a fixture

PNG = b"\x89PNG"
WORDS = ["--checkpoint", "sample", "--vocabulary", "sample-landscape", "--label", "land"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_set(tmp_path_factory.mktemp("set"), made_samples(360))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_table(tmp_path_factory.mktemp("table"), made_samples(120))


def read(out: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    return numbers


def test_a_checkpoint_on_a_training_set(
    packed: str, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    more = ["--region", "nuts0", "--steps", "12,1", "--draws", "2", "--number", "green"]
    prompts = ["--positive", "dense green vegetation", "--negative", "bare soil"]
    with connected(users_server):
        assert run(["evaluate", packed, *WORDS, *more, *prompts, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "zero-shot accuracy (top 1)" in said
    assert str(out / "report.md") in said
    numbers = read(out)
    assert numbers["about"]["part"] == "test"
    assert numbers["labels"]["level"] == "class"
    assert set(numbers["steps"]) == {"12", "1"}
    months, year = numbers["steps"]["12"], numbers["steps"]["1"]
    zero_shot = months["zero_shot"]
    assert zero_shot["classes"]["accuracy"] > 0.9
    assert zero_shot["classes"]["top5"] >= zero_shot["classes"]["accuracy"]
    assert year["zero_shot"]["classes"]["accuracy"] < zero_shot["classes"]["accuracy"]
    assert set(zero_shot["regions"]) == {"FR", "BE"}
    regions = [region["rows"] for region in zero_shot["regions"].values()]
    assert sum(regions) == zero_shot["classes"]["rows"]
    assert zero_shot["fitted"]["loss"] <= zero_shot["fitted"]["loss_before"]
    assert months["retrieval"]["to_ground"]["recall"]["1"] > 0.9
    assert months["retrieval_by_label"]["to_series"]["recall"]["1"] > 0.9
    assert months["regression"]["pearson"] > 0.2
    assert months["probes"]["linear"]["accuracy"] > 0.8
    assert months["probes"]["few_shot"][0]["draws"] == 2
    report = (out / "report.md").read_text()
    for name in ("confusion-12.png", "calibration-1.png", "few-shot-12.png"):
        assert f"({name})" in report
        assert (out / name).read_bytes().startswith(PNG)


def test_a_table_of_series_whole_or_by_parts(
    table: str, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with connected(users_server):
        quick = ["--draws", "1"]
        whole, one_block, part = tmp_path / "whole", tmp_path / "block", tmp_path / "part"
        assert run(["evaluate", table, *WORDS, *quick, "--out", str(whole)]) == 0
        wide, there = ["--block-km", "5000"], ["--cluster", "local"]
        assert run(["evaluate", table, *WORDS, *wide, *there, "--out", str(one_block)]) == 0
        assert run(["evaluate", table, *WORDS, *wide, "--split", "test", "--out", str(part)]) == 2
    assert "5000 km" in capsys.readouterr().err
    numbers, alone = read(whole), read(one_block)
    assert numbers["about"]["part"] == "all"
    assert numbers["about"]["rows"] == 118
    assert numbers["about"]["without observation"] == 2
    assert numbers["labels"]["unknown"] == {"volcano": 7}
    assert numbers["steps"]["12"]["retrieval"] is None
    assert numbers["steps"]["12"]["probes"] is not None
    assert alone["steps"]["12"]["probes"] is None
    assert "No probes" in alone["steps"]["12"]["notes"][0]
    found = (numbers["steps"]["12"]["zero_shot"], alone["steps"]["12"]["zero_shot"])
    assert found[0]["classes"] == found[1]["classes"]
    assert not part.exists()


def test_a_set_and_its_report_in_a_bucket(
    table: str, tmp_path: Path, users_server: str, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = s3fs.S3FileSystem()
    bucket.put(table, f"{s3}/to-evaluate", recursive=True)  # buckets outlive modules
    command = ["evaluate", f"{s3}/to-evaluate", *WORDS, "--draws", "1"]
    with connected(users_server):
        assert run([*command, "--out", f"{s3}/report"]) == 0
        assert run(["evaluate", table, *command[2:], "--out", str(tmp_path / "report")]) == 0
    assert f"{s3}/report/report.md" in capsys.readouterr().out
    there = json.loads(bucket.cat(f"{s3}/report/evaluation.json"))
    assert there["steps"] == read(tmp_path / "report")["steps"]
    assert bucket.cat(f"{s3}/report/confusion-12.png").startswith(PNG)


def test_a_run_at_points(
    whole_run: Path, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(whole_run, copied)
    store = Store(str(copied))
    items = finished_items(store, read_run(store).fingerprint)
    west, south = (min(item["bbox"][k] for item in items) for k in (0, 1))
    east, north = (max(item["bbox"][k] for item in items) for k in (2, 3))
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(west, east, 200), rng.uniform(south, north, 200)
    labels = rng.choice(["wheat", "Maize field", "coniferous woodland"], 200)
    points = tmp_path / "ref.gpkg"
    geometry = geopandas.points_from_xy(lon, lat, crs=4326)
    geopandas.GeoDataFrame({"cover": labels}, geometry=geometry).to_crs(3035).to_file(points)
    with connected(users_server):
        command = ["evaluate", str(copied), "--points", str(points), "--label", "cover"]
        assert run(command) == 0
    assert "Overall" in capsys.readouterr().out
    numbers = read(copied / "evaluation")
    used = numbers["points"]
    assert used["given"] == 200
    told = used["used"] + used["left_out"] + used["outside"] + used["on_nodata"]
    assert told + used["unknown_label"] == 200
    shares = [entry["share of the area"]["value"] for entry in numbers["classes"]]
    assert sum(shares) == pytest.approx(1)
    assert (copied / "evaluation" / "confusion.png").read_bytes().startswith(PNG)
    assert run(["status", str(copied)]) == 0  # it is a run as before


def test_a_sample_is_drawn_labelled_and_evaluated(
    whole_run: Path, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "sample.gpkg", tmp_path / "out"
    command = ["sample", str(whole_run), str(path)]
    assert run([*command, "--points", "90", "--minimum", "5", "--with-class"]) == 0
    assert f"Points   {path}: 90 in " in capsys.readouterr().out
    assert run(command) == 2
    assert "it is there already, and may hold labels" in capsys.readouterr().err
    frame = geopandas.read_file(path, layer="points")
    labels = frame["class"].where(frame["id"] > 4, None).where(frame["id"] != 90, "anything")
    metadata = pyogrio.read_info(path, layer="points")["dataset_metadata"]
    path.unlink()
    frame["label"] = labels
    pyogrio.write_dataframe(frame, path, layer="points", dataset_metadata=metadata)
    mapping = tmp_path / "classes.csv"
    names = "\n".join(f"{name},{name}" for name in sorted(set(frame["class"])))
    mapping.write_text(f"label,class\n{names}\nanythin,\n")
    more = ["--points", str(path), "--labels", str(mapping), "--out", str(out)]
    with connected(users_server):
        assert run(["evaluate", str(whole_run), *more]) == 0
    said = capsys.readouterr().out
    assert "label 'anything' of 1 points is unknown (did you mean anythin?)" in said
    numbers = read(out)
    assert numbers["points"]["no_label"] == 4
    assert numbers["points"]["unknown_label"] == 1
    assert numbers["overall accuracy"]["value"] == 1
    assert numbers["mapping of labels"]["classes"]["anythin"] is None
    for more_points, problem in ((["--points", "0"], "1 or more"), (["--minimum", "1"], "2 or")):
        assert run(["sample", str(whole_run), str(tmp_path / "b.gpkg"), *more_points]) == 2
        assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ended", "of_map"),
    [(signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGKILL, False)],
)
def test_an_evaluation_that_is_stopped_keeps_what_it_says(
    whole_run: Path,
    packed: str,
    tmp_path: Path,
    shell: Shell,
    users_server: str,
    ended: signal.Signals,
    of_map: bool,
) -> None:
    """Nothing: the last report stays as it is, and the same command starts anew."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.md").write_text("the last one")
    points = tmp_path / "ref.csv"
    points.write_text("lon,lat,label\n6,49.6,wheat\n")
    command, stage = ["evaluate", packed, *WORDS], "measuring"
    if of_map:
        command, stage = ["evaluate", str(whole_run), "--points", str(points)], "reading the map"
    process = shell.timesen(*command, "--out", str(out), PREFECT_API_URL=users_server)
    assert process.stdout is not None
    assert any(stage in line for line in process.stdout)
    process.send_signal(ended)
    _, errors = process.communicate(timeout=60)
    shell.require_nothing_left()
    if ended == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert errors == "Stopped. Nothing of it is kept; the same command starts anew.\n"
    assert [path.name for path in out.iterdir()] == ["report.md"]
    assert (out / "report.md").read_text() == "the last one"


def test_a_folder_with_a_report_is_whole(tmp_path: Path) -> None:
    """Killed between two files, a folder has no report: neither an old one nor a new."""
    store = Store(str(tmp_path))
    write_evaluation_report(store, ["old"], {"n": 1}, {"a.png": b"old"})
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").mkdir()  # the picture cannot be written
    with pytest.raises(OutputUnwritable):
        write_evaluation_report(store, ["new"], {"n": 2}, {"a.png": b"new"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_may_go_wrong(
    packed: str, table: str, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = ["--checkpoint", "sample"]
    words = ["--classes", "forest, lake"]
    with connected(users_server):
        for arguments, problem in (
            ([packed], "give checkpoint with a training set or a table of series, or points"),
            ([packed, *sample, "--label", "land"], "give either vocabulary or classes"),
            ([packed, *sample, *words, "--label", "crop"], "It has land, nuts0, green"),
            ([packed, *sample, *words, "--label", "nuts0"], "its labels are FR, BE"),
            ([packed, *sample, "--number", "land"], "give number, positive and negative"),
            ([packed, *WORDS, "--steps", "6"], "steps.0: 6 is given, and it must be 12, 4 or 1. `"),
            (
                [packed, *WORDS, "--split", "dev"],
                "split: 'dev' is given, and it must be test, validation",
            ),
            ([table, *sample], "its labels are land, nuts0, green"),
            ([str(tmp_path), *WORDS], "neither a training set"),
            ([str(tmp_path), "--points", "x.gpkg"], "there is no run here"),
        ):
            assert run(["evaluate", *arguments, "--out", str(tmp_path / "out")]) == 2
            said = capsys.readouterr().err
            assert said.startswith("Error: ")
            assert problem in said
    assert not (tmp_path / "out").exists()
