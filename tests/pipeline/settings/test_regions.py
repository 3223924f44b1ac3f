"""A file of regions: what its runs are made of, and what is said of a mistake."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.settings.regions import load_regions

SHARED = """
year = 2023
classes = "forest, lake"
out = "maps/{name}/{year}"
cell_size = 1024

[catalog]
url = "earth-search"
max_cloud_cover = 60
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "regions.toml"
    file.write_text(text)
    return file


def test_a_region_has_the_shared_settings_and_its_own(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("")
    text = SHARED + (
        '[regions.ghent]\nregion = "31UES"\n'
        '[regions."liège"]\nregion = "31UFS"\nvocabulary = "own.toml"\nyears = [2021, 2022]\n'
        '[regions."liège".catalog]\nmax_cloud_cover = 80\n'
        '[regions.arlon]\nregion = "31UFR"\nyear = "last"\ncell_size = 2048\n'
    )
    runs = {run.name: run for run in load_regions(written(tmp_path, text))}
    assert list(runs) == ["ghent", "liège-2021", "liège-2022", "arlon"]

    ghent = runs["ghent"].settings
    assert (ghent.region, ghent.year, ghent.classes) == ("31UES", 2023, "forest, lake")
    assert (ghent.cell_size, ghent.catalog.max_cloud_cover) == (1024, 60)
    assert ghent.out == str(tmp_path / "maps/ghent/2023")

    liege = runs["liège-2022"].settings
    assert (liege.vocabulary, liege.classes) == (str(tmp_path / "own.toml"), None)
    assert (liege.catalog.url, liege.catalog.max_cloud_cover) == ("earth-search", 80)
    assert liege.out == str(tmp_path / "maps/liège/2022")

    arlon, last = runs["arlon"], datetime.now(UTC).year - 1
    assert (arlon.settings.year, arlon.settings.cell_size) == (last, 2048)
    assert arlon.settings.out == str(tmp_path / f"maps/arlon/{last}")
    # A deployment takes the year when its run starts.
    assert arlon.written["year"] == "last"
    assert arlon.written["out"] == str(tmp_path / "maps/arlon/{year}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHARED, r"regions\.toml: it has no region\. Write a table"),
        (f"{SHARED}[regions]\nghent = 1\n", r"\[regions\.ghent\] this is a section"),
        (f'{SHARED}[regions."a/b"]\nregion = "31UES"\n', r"\[regions\.a/b\] a name has up to"),
        (
            f'{SHARED}[regions.a]\nregion = "31UES"\n[regions.b]\nregoin = "31UES"\n',
            r"\[regions\.b\] region: .*; regoin: .*no such setting \(did you mean region\?\)",
        ),
        (
            f'cell_sise = 64\n{SHARED}[regions.a]\nregion = "31UES"\n[regions.b]\nregion = "31U"\n',
            r"regions\.toml: cell_sise: there is no such setting \(did you mean cell_size\?\)",
        ),
        (
            f'{SHARED}[regions.a]\nregion = "31UES"\nout = "x"\n[regions.b]\nregion = "1"\n'
            'out = "y/../x/"\n',
            "a and b have the same folder",
        ),
        (
            f'{SHARED}[regions.a]\nregion = "31UES"\nyears = [2021, 2022]\nout = "x/{{name}}"\n',
            "a-2021 and a-2022 have the same folder",
        ),
        (
            f'{SHARED}[regions.a]\nregion = "31UES"\nyears = [2021]\n[regions.a-2021]\n'
            'region = "31UES"\nout = "x"\n',
            "two runs have the name a-2021",
        ),
        (f'{SHARED}[regions.a]\nregion = "31UES"\nyears = 2021\n', "years: give a list"),
        (f'{SHARED}[regions.a]\nregion = "31UES"\nyears = [2021, 1]\n', "must be 2015 or more"),
        (f'{SHARED}[regions.a]\nregion = "31UES"\nyear = 2021\nyears = [2022]\n', "one of them"),
        (f'years = [2021]\n{SHARED}[regions.a]\nregion = "31UES"\n', "one of them"),
    ],
)
def test_a_mistake_names_region_and_setting(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_regions(written(tmp_path, text))


def test_years_in_the_file_of_a_run_make_a_map_each(tmp_path: Path) -> None:
    text = (
        'region = "31UES"\nyears = [2019, 2021]\nclasses = "a field, a lake"\nout = "maps/{year}"\n'
    )
    runs = load_regions(written(tmp_path, text))
    assert [(run.name, run.region, run.settings.year) for run in runs] == [
        ("regions-2019", "regions", 2019),
        ("regions-2021", "regions", 2021),
    ]
    assert runs[0].settings.out == str(tmp_path / "maps/2019")
    with pytest.raises(SettingsError, match="the same folder"):
        load_regions(written(tmp_path, text.replace("{year}", "all")))
    with pytest.raises(SettingsError, match=r"regions\.toml: clases: there is no such setting"):
        load_regions(written(tmp_path, text.replace("classes", "clases")))


def test_the_example_of_infra_is_one() -> None:
    example = Path(__file__).resolve().parents[3] / "infra" / "regions.toml"
    names = [run.name for run in load_regions(example)]
    assert names == ["luxembourg", "arlon-2022", "arlon-2023"]
