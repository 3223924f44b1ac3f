"""`timesen search`: a catalogue asked once, its table used where the catalogue is out of reach."""

from collections.abc import Callable
from pathlib import Path

import geopandas
import pytest

from flows.cli.main import run
from pipeline.sample.archive import SampleArchive
from tests.catalog_servers import folder_server

Options = Callable[..., list[str]]


def searched(archive: SampleArchive, catalog: str, *more: str) -> list[str]:
    region = ("--region", str(archive.region), "--year", str(archive.year))
    return ["search", *region, "--catalog", catalog, *more]


def test_a_table_takes_the_place_of_its_catalogue(
    sample_archive: SampleArchive,
    options: Options,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "items.parquet"
    with folder_server(sample_archive.folder) as address:
        assert run(searched(sample_archive, address, "--items", str(table))) == 0
    said = capsys.readouterr().out
    frame = geopandas.read_parquet(table)
    assert f"{len(frame)} items of 4 tiles" in said
    assert frame["datetime"].dt.year.eq(sample_archive.year).all()
    # The server is gone: planning needs the table only.
    coarse = [part if part != "64" else "512" for part in options(tmp_path / "a", archive=table)]
    assert run(["plan", *coarse]) == 0
    offline = capsys.readouterr().out
    direct = [part if part != "64" else "512" for part in options(tmp_path / "b")]
    assert run(["plan", *direct]) == 0

    def work(plan: str) -> list[str]:
        return [line for line in plan.splitlines() if line.startswith(("cells", "items", "pixels"))]

    assert work(offline) == work(capsys.readouterr().out) != []


def test_from_a_run_file(sample_archive: SampleArchive, tmp_path: Path) -> None:
    recipe = tmp_path / "run.toml"
    recipe.write_text(
        f'region = "{sample_archive.region}"\nyear = {sample_archive.year}\nout = "run"\n'
        f'classes = "forest, lake"\n[catalog]\nurl = "{sample_archive.folder}"\n'
    )
    table = tmp_path / "some.parquet"
    assert run(["search", str(recipe), "--items", str(table)]) == 0
    assert table.stat().st_size > 1000
    assert not (tmp_path / "run").exists()


def test_bands_that_items_lack_are_told(
    sample_archive: SampleArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "SCL": "scl"}
    lines = [f'url = "{sample_archive.folder}"', "[assets]"]
    lines += [f'{band} = "{name}"' for band, name in names.items()]
    (tmp_path / "visible.toml").write_text("\n".join(lines))
    table = str(tmp_path / "items.parquet")
    assert run(searched(sample_archive, str(tmp_path / "visible.toml"), "--items", table)) == 0
    said = capsys.readouterr().out
    assert "no item has band B8A" in said
    assert "band B04" not in said


def test_what_may_go_wrong(
    sample_archive: SampleArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(sample_archive.folder)
    kept = tmp_path / "kept.parquet"
    kept.write_bytes(b"as it was")
    for arguments, words in (
        (searched(sample_archive, folder, "--items", str(tmp_path / "a.json")), "NAME.parquet"),
        (["search", "--catalog", folder, "--items", str(kept)], "region: it is missing"),
        (searched(sample_archive, str(tmp_path), "--items", str(kept)), "holds neither"),
    ):
        assert run(arguments) == 2
        told = capsys.readouterr().err
        assert words in told
        assert "Traceback" not in told
    assert kept.read_bytes() == b"as it was"
    assert run(searched(sample_archive, folder, "--items", "/proc/items.parquet")) == 1
