"""What a user may write, in a TOML file and in memory."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CatalogError, SettingsError
from pipeline.io.redaction import expanded
from pipeline.io.user_paths import is_shipped_name
from pipeline.settings.load import load_settings
from pipeline.settings.map import MapSettings, make_settings

BASE: dict[str, Any] = {"region": "31UFS", "year": 2021, "out": "map", "classes": "a, b"}


def recipe(folder: Path, **changes: Any) -> Path:
    file = folder / "run.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in (BASE | changes).items()]
    file.write_text("\n".join(lines))
    return file


def test_paths_are_taken_from_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "aoi.geojson").write_text("{}")
    settings = load_settings(
        MapSettings, {}, recipe(tmp_path, region="aoi.geojson", checkpoint="sample")
    )
    assert settings.region == str(tmp_path / "aoi.geojson")
    assert settings.out == str(tmp_path / "map")
    assert settings.checkpoint == "sample"


@pytest.mark.parametrize(
    "region", [", ".join(["31UFS"] * 60), '{"type": "Polygon"}' * 20], ids=["tiles", "geojson"]
)
def test_a_region_longer_than_a_files_name(tmp_path: Path, region: str) -> None:
    assert load_settings(MapSettings, {}, recipe(tmp_path, region=region)).region == region


def test_tile_names_go_before_a_file_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "31UFS").write_text("no region")
    assert load_settings(MapSettings, {}, recipe(tmp_path)).region == "31UFS"


@pytest.mark.parametrize(
    ("setting", "name"),
    [("checkpoint", "sample"), ("catalog", "earth-search"), ("vocabulary", "cropland")],
)
def test_a_shipped_name_goes_before_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    own: dict[str, Any] = {"catalog": {"url": name}} if setting == "catalog" else {setting: name}
    written = {
        key: value for key, value in BASE.items() if setting != "vocabulary" or key != "classes"
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in written.items()]
    lines += [f'[catalog]\nurl = "{name}"' if setting == "catalog" else f'{setting} = "{name}"']
    file = tmp_path / "run.toml"
    file.write_text("\n".join(lines))
    for settings in (
        load_settings(MapSettings, {}, file),
        load_settings(MapSettings, written | own),
    ):
        value = settings.catalog.url if setting == "catalog" else getattr(settings, setting)
        assert value == name


@pytest.mark.parametrize(
    ("setting", "short", "long"),
    [
        ("reading.keep_scl", "4, 5,6", (4, 5, 6)),
        ("reading.keep_scl", ["4,5", "6"], (4, 5, 6)),
        ("reading.substitute", "B8A=B08", {"B8A": "B08"}),
        ("reading.substitute", ["B8A=B08", "B05 = B06"], {"B8A": "B08", "B05": "B06"}),
        ("cluster.kind", "tcp://host:8786", "address"),
        ("steps", "4", 4),
    ],
)
def test_short_forms_in_a_file(setting: str, short: Any, long: Any) -> None:
    section, _, name = setting.rpartition(".")
    settings = make_settings(BASE | ({section: {name: short}} if section else {name: short}))
    found = getattr(settings, section) if section else settings
    assert getattr(found, name) == long
    if name == "kind":
        assert settings.cluster.address == short


def test_another_cluster_puts_the_files_aside(tmp_path: Path) -> None:
    file = recipe(tmp_path)
    file.write_text(file.read_text() + '\n[cluster]\nkind = "tcp://old:1"\nthreads = 3\n')
    for kind, address in (("tcp://new:1", "tcp://new:1"), ("local", None)):
        cluster = load_settings(MapSettings, {"cluster": {"kind": kind}}, file).cluster
        assert (cluster.address, cluster.threads) == (address, 3)


def test_options_put_aside_what_the_file_says(tmp_path: Path) -> None:
    settings = load_settings(MapSettings, {"vocabulary": "lucas-land-cover"}, recipe(tmp_path))
    assert (settings.vocabulary, settings.classes) == ("lucas-land-cover", None)


@pytest.mark.parametrize("text", ["./sample", "sample/", "sample.toml", "other"])
def test_a_path_is_no_shipped_name(text: str) -> None:
    assert not is_shipped_name("checkpoint", text)


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@example.com/v1",
        "https://hunter2@example.com/v1",
        "https://${WHO}:hunter2@example.com/v1",
        "https://example.com/v1?token=hunter2",
        "https://example.com/v1?hunter2",
        "https://example.com/v1?a=${A}&b=x${B}hunter2",
        "https://example.com/v1?token=$hunter2",
    ],
)
def test_a_secret_in_the_catalogues_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match=r"catalog\.url: .*write \$\{NAME\}") as refused:
        make_settings(BASE | {"catalog": {"url": url}})
    assert "hunter2" not in str(refused.value)


def test_a_secret_in_the_outputs_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match=r"out: .*AWS_SECRET_ACCESS_KEY") as refused:
        make_settings(BASE | {"out": "s3://me:hunter2@bucket/prefix"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "earth-search",
        "https://example.com/v1",
        "https://${WHO}:${WORD}@example.com:8080/v1?token=${WORD}&other=",
        "/data/what?/is=this@",
    ],
)
def test_names_of_the_environment_are_expanded_only_where_asked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHO", "me")
    monkeypatch.setenv("WORD", "hunter2")
    settings = make_settings(BASE | {"catalog": {"url": url}})
    assert settings.catalog.url == url
    assert "hunter2" not in settings.model_dump_json()
    assert expanded(url) == url.replace("${WHO}", "me").replace("${WORD}", "hunter2")


def test_an_unset_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORD", raising=False)
    with pytest.raises(CatalogError, match=r"the environment has no WORD.*export WORD="):
        expanded("https://example.com/v1?token=${WORD}")


@pytest.mark.parametrize("value", [5, True, 1.5])
def test_a_substitute_that_is_no_table(value: object) -> None:
    raw = {"region": "31UFS", "year": 2021, "classes": "a, b", "out": "map"}
    with pytest.raises(SettingsError, match=r"reading\.substitute: it must be a table"):
        make_settings(raw | {"reading": {"substitute": value}})
