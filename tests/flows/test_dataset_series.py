"""Series tables made by their commands: of an archive's points, and of Sen4Map's files."""

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from flows.cli.main import run as timesen
from models.encoder.preprocessing import BANDS
from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item_snapshot import make_snapshot, read_snapshot
from pipeline.grid.region import read_region
from pipeline.point_series.point_groups import group_points
from pipeline.point_series.points import read_points
from pipeline.point_series.read_points import read_point_series
from pipeline.point_series.table import SeriesRows, SeriesTable
from pipeline.sample.archive import SampleArchive
from pipeline.settings.map import make_search_settings
from tests.catalog_servers import published_in, search_named
from tests.flows.conftest import Shell, connected, end_when
from tests.pipeline.point_series.test_read_points import READING
from tests.pipeline.point_series.test_sen4map import image_id, made, write_crop, write_patch


def run(*arguments: str) -> int:
    """The exit code of `timesen dataset …`."""
    return timesen(["dataset", *arguments])


@pytest.fixture(scope="module")
def points(sample_archive: SampleArchive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Points all over the archive, and some that have no series."""
    path = tmp_path_factory.mktemp("points") / "points.csv"
    rng = np.random.default_rng(6)
    west, south, east, north = sample_archive.bbox
    with path.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "year", "lon", "lat", "label_lc1", "photo_key"])
        for i in range(40):
            x, y = rng.uniform(west, east), rng.uniform(south, north)
            rows.writerow(
                [f"p{i:02}", sample_archive.year, x, y, "AB"[i % 2] if i else "", f"k{i}"]
            )
        rows.writerow(["early", 2016, x, y, "A", ""])
        rows.writerow(["far", sample_archive.year, x + 40, y, "A", ""])
        rows.writerow(["beside", sample_archive.year, east + 0.3, y, "A", ""])
        rows.writerow(["nowhere", sample_archive.year, "", "", "A", ""])
    return path


def options(archive: SampleArchive, points: Path, out: Path | str, *more: str) -> list[str]:
    where = ("--catalog", str(archive.folder), "--max-cloud-cover", "100")
    return ["series", str(points), "--out", str(out), *where, *more]


def rows_of(out: Path | str) -> dict[str, dict[str, Any]]:
    """The table's rows, by id."""
    found: dict[str, dict[str, Any]] = {}
    for batch in SeriesTable.open(str(out)).batches():
        for i, name in enumerate(batch.ids):
            assert name not in found
            found[name] = row(batch, i)
    return found


def row(batch: SeriesRows, i: int) -> dict[str, Any]:
    return {
        "place": (float(batch.lon[i]), float(batch.lat[i])),
        "year": int(batch.year[i]),
        "series": batch.series[i].tolist(),
        "clear": batch.clear[i].tolist(),
        "labels": {name: of[i] for name, of in batch.labels.items()},
        "photo": batch.photo_keys[i],
    }


@pytest.fixture(scope="module")
def table(
    sample_archive: SampleArchive,
    points: Path,
    tmp_path_factory: pytest.TempPathFactory,
    users_server: str,
) -> Path:
    out = tmp_path_factory.mktemp("table") / "table"
    with connected(users_server):
        assert run(*options(sample_archive, points, out)) == 0
    return out


def test_every_point_has_its_series_or_a_reason(
    sample_archive: SampleArchive, points: Path, table: Path
) -> None:
    found = rows_of(table)
    left_out = {r["id"]: r["reason"] for r in csv.DictReader((table / "left-out.csv").open())}
    given = read_points(points)
    assert found.keys() | left_out.keys() == {*given.ids, "nowhere"}
    assert not found.keys() & left_out.keys()
    assert left_out["nowhere"] == "no coordinates"
    for name in ("early", "far", "beside"):
        assert left_out[name].startswith("no acquisitions: ")
    assert len(found) > 35
    card = SeriesTable.open(str(table)).card
    assert (card.rows, card.points, card.bands) == (len(found), 44, BANDS)
    assert card.left_out["no acquisitions"] == 3
    assert card.years == {sample_archive.year: len(found)}
    assert card.made["catalog"] == str(sample_archive.folder)
    assert "Copernicus Sentinel" in card.attribution
    assert not list(table.glob("units/*/*"))

    # The same series from the parts, over all items at once.
    settings = make_search_settings(
        {
            "region": sample_archive.region,
            "year": sample_archive.year,
            "catalog": {"url": str(sample_archive.folder), "max_cloud_cover": 100},
        }
    )
    catalog = describe_catalog(settings.catalog.url, None)
    published = published_in(search_named(read_region(settings.region), settings))
    items = read_snapshot(make_snapshot(published, catalog), "items", catalog.conventions)
    tiles = set()
    for group in group_points(given):
        if group.year != sample_archive.year or group.tile.name not in sample_archive.tiles:
            continue
        cell, of_tile = group.cell(), [i for i in items if i.tile == group.tile.name]
        expected = read_point_series(cell, *group.within(cell), of_tile, READING)
        for k, i in enumerate(group.members.tolist()):
            if given.ids[i] in left_out:
                assert not expected.series[k].any()
                continue
            one = found[given.ids[i]]
            assert one["series"] == expected.series[k].tolist()
            assert one["clear"] == expected.clear[k].tolist()
            assert one["place"] == (given.lon[i], given.lat[i])
            assert one["labels"] == {"lc1": given.labels["lc1"][i]}
            assert one["photo"] == given.photo_keys[i]
            tiles.add(group.tile.name)
    assert len(tiles) == 4


def test_a_table_that_is_there_is_not_made_again(
    sample_archive: SampleArchive,
    points: Path,
    table: Path,
    users_server: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {p: p.stat().st_mtime_ns for p in table.glob("part-*")}
    with connected(users_server):
        assert run(*options(sample_archive, points, table)) == 0
        assert before == {p: p.stat().st_mtime_ns for p in table.glob("part-*")}
        capsys.readouterr()
        fewer = tmp_path / "fewer.csv"
        fewer.write_text("".join(points.read_text().splitlines(keepends=True)[:-6]))
        for given, more, problem in (
            (points, ["--first-month", "7"], "first_month: 1 → 7"),
            (points, ["--dilate", "100"], "reading.dilate: 0.0 → 100.0"),
            (fewer, [], "series made from other input (points: "),
        ):
            assert run(*options(sample_archive, given, table, *more)) == 2
            assert problem in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on(
    sample_archive: SampleArchive, points: Path, table: Path, tmp_path: Path, shell: Shell,
    users_server: str,
) -> None:  # fmt: skip
    out = tmp_path / "table"
    command = ["dataset", *options(sample_archive, points, out, "--cells-in-flight", "1")]

    def has_read() -> bool:
        kept = [*out.glob("units/*/*.parquet"), *out.glob("part-*")]
        return any(items.stem in str(path) for items in out.glob("items/*") for path in kept)

    process = shell.timesen(*command, PREFECT_API_URL=users_server)
    end_when(shell, process, signal.SIGKILL, has_read)
    assert not (out / "series.json").exists()
    frozen = {path: path.stat().st_mtime_ns for path in out.glob("items/*")}
    assert frozen
    parts = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    process = shell.timesen(*command, PREFECT_API_URL=users_server)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "of 44 points" in said
    assert frozen.items() <= {p: p.stat().st_mtime_ns for p in out.glob("items/*")}.items()
    assert parts.items() <= {p: p.stat().st_mtime_ns for p in out.glob("part-*")}.items()
    assert rows_of(out) == rows_of(table)


def test_what_cannot_be_read_now_is_tried_again(
    sample_archive: SampleArchive, points: Path, table: Path, tmp_path: Path, users_server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A tile whose scene classifications are gone fails; the others are kept, and then it too."""
    archive = tmp_path / "archive"
    hidden: list[tuple[Path, Path]] = []
    for path in sorted(sample_archive.folder.rglob("*")):
        if path.is_file():
            target = archive / path.relative_to(sample_archive.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
            if path.name == "SCL.tif" and sample_archive.tiles[0] in path.parent.name:
                hidden.append((target, target.with_name("hidden")))
    assert hidden
    for target, other in hidden:
        target.rename(other)
    out = tmp_path / "table"
    where = ["--catalog", str(archive), "--max-cloud-cover", "100"]
    with connected(users_server):
        assert run("series", str(points), "--out", str(out), *where) == 1
        said = capsys.readouterr().err
        assert "not one can be read" in said
        assert "start again" in said
        assert not (out / "series.json").exists()
        assert len(list(out.glob("part-*"))) >= 3
        for target, other in hidden:
            other.rename(target)
        assert run("series", str(points), "--out", str(out), *where) == 0
    assert rows_of(out) == rows_of(table)


def test_mistakes_are_told_before_anything_is_read(
    sample_archive: SampleArchive, points: Path, tmp_path: Path, users_server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "table"
    none = tmp_path / "none.csv"
    none.write_text("id,year,lon,lat\na,2015,0,0\n")
    with connected(users_server):
        for given, more, problem in (
            (points, ["--id-column", "name"], "no column 'name'"),
            (points, ["--classes", "lc1=A"], "20 points have a lc1 that is not in its list"),
            (points, ["--classes", "lc1"], "classes: lc1: write NAME=VALUE"),
            (points, ["--year", "1999"], "year: '1999' is given, and it must be 2015 or more"),
            (points, ["--most-a-month", "-1"], "reading.most_a_month"),
            (points, ["--composite", "mean"], "reading.composite"),
            (points, ["--catalog", str(tmp_path / "nothing")], "no such catalogue"),
            (tmp_path / "gone.csv", [], "there is no such file"),
            (none, [], "none of 1 points has a series"),
        ):
            assert run(*options(sample_archive, given, out, *more)) == 2
            said = capsys.readouterr().err
            assert said.startswith("Error: ")
            assert problem in said
    assert run("series", str(points), "--out", "s3://key:secret@bucket/x") == 2
    assert "secret@" not in capsys.readouterr().err


def test_sen4map_of_both_layouts(
    tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("flows.dataset_sen4map._GROUPS", 2)
    rng = np.random.default_rng(1)
    dates = [image_id(month, 5) for month in range(1, 13)]
    bands, scl = made(rng, 12)
    scl[:] = 5
    scl[3] = 8
    with h5py.File(tmp_path / "patches.h5", "w") as file:
        for k in range(5):
            write_patch(file, f"{39483080 + 2 * k}", dates, bands, scl if k else scl * 0)
    crops = rng.integers(2, 9000, (12, 10, 1, 1)).astype(np.float32)
    with h5py.File(tmp_path / "crops.h5", "w") as file:
        write_crop(file, "39503080", crops)
    files = [str(tmp_path / name) for name in ("patches.h5", "crops.h5")]
    out = tmp_path / "table"
    with connected(users_server):
        assert run("sen4map", *files, "--out", str(out)) == 0
        assert "5 of 6 points" in capsys.readouterr().out
        found = rows_of(out)
        assert found.keys() == {"39483082", "39483084", "39483086", "39483088", "39503080"}
        centre = bands[:, :, 32, 32].T.copy()
        centre[3] = 0
        assert found["39483082"]["series"] == centre.tolist()
        assert found["39483082"]["photo"] == "BE_39483082"
        assert found["39483082"]["labels"]["lu1"] == "U111"
        assert found["39503080"]["series"] == crops[:, :, 0, 0].tolist()
        card = json.loads((out / "series.json").read_text())
        assert card["left_out"] == {"no clear observation in the year": 1}
        assert card["made"]["kind"] == "sen4map"
        kept = tmp_path / "kept"
        scenes = ("--keep-scl", "4,5,6,8")
        assert run("sen4map", *files, "--out", str(out), *scenes) == 2
        assert "series made from other input" in capsys.readouterr().err
        assert run("sen4map", *files, "--out", str(kept), *scenes) == 0
        assert rows_of(kept)["39483082"]["series"] == bands[:, :, 32, 32].T.tolist()
        assert run("sen4map", files[0], files[0], "--out", str(tmp_path / "twice")) == 2
        assert "both hold Lucas_Point_39483080" in capsys.readouterr().err


def test_rasters_that_were_left_out_are_said(
    sample_archive: SampleArchive, points: Path, tmp_path: Path, users_server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)
    clear = next(archive.rglob(f"S2A_{sample_archive.tiles[0]}_20210816_0_L2A/B05.tif"))
    clear.write_bytes(b"damaged")
    out = str(tmp_path / "table")
    where = ["--catalog", str(archive), "--max-cloud-cover", "100"]
    with connected(users_server):
        assert run("series", str(points), "--out", out, *where) == 0
    said = capsys.readouterr().out
    assert "warning: 1 rasters could not be read and were left out, for one " in said
    assert "B05.tif B05: is " in said


def test_a_catalogue_that_is_none_is_no_lack_of_acquisitions(
    points: Path, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.json"
    page.write_text('{"type": "FeatureCollection", "features": [], "numberMatched": 9}')
    with connected(users_server):
        out = str(tmp_path / "table")
        assert run("series", str(points), "--out", out, "--catalog", str(page)) == 2
    assert "holds only 0 of the 9 items" in capsys.readouterr().err
