"""What a user's TOML file says of a catalogue, and what becomes of items by it."""

import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from models.encoder.preprocessing import BANDS
from pipeline.catalog.access_description import AccessDescription
from pipeline.catalog.description import CatalogDescription, describe_catalog, shipped_catalogs
from pipeline.catalog.item import SCL, Item
from pipeline.catalog.item_assets import band_keys
from pipeline.catalog.normalise import normalise
from pipeline.errors import CatalogError, SettingsError
from pipeline.grid.region import read_region
from pipeline.raster.access import Access
from pipeline.settings.map import make_search_settings
from tests.catalog_servers import ApiState, api_server, published_in, search_named, write_static
from tests.stac_items import cdse_item, earth_search_item

ALL = (*BANDS, SCL)
REGION = "4.6,50.8,4.7,50.9"
OWN = {band: f"refl_{band.lower()}" for band in BANDS} | {SCL: "classes"}
URL = 'url = "https://example.com/v1"\n'
ASSETS = '[assets]\nSCL = "scl"\n'
HUSH = "AKIAHUSHHUSH"


def written(folder: Path, text: str | bytes) -> str:
    file = folder / "own.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


def own_description(url: str, more: str = "", **names: Any) -> str:
    bands = "\n".join(f"{band} = {json.dumps(name)}" for band, name in (OWN | names).items())
    return f'url = "{url}"\n{more}\n[assets]\n{bands}\n'


def own_item(date: str, **names: str) -> dict[str, Any]:
    """An item of baseline 05.00 of an archive that names its assets as it likes."""
    item = earth_search_item("31UFS", date, baseline="05.00")
    common = band_keys(item["assets"])
    assets = {
        name: {**item["assets"][common[band]], "href": f"https://example.com/{name}.tif"}
        for band, name in (OWN | names).items()
    }
    return {**item, "assets": {**assets, "blue": {"href": "https://example.com/quicklook.tif"}}}


def found(catalog: str, **fields: Any) -> list[Item]:
    """The items that a search finds, in the normal form that the description gives them."""
    given = {"region": REGION, "year": 2021, "catalog": {"url": catalog, **fields}}
    of_catalog = search_named(read_region(REGION), make_search_settings(given))
    assert not of_catalog.refused
    return [
        normalise(item, describe_catalog(catalog).conventions) for item in published_in(of_catalog)
    ]


def test_the_catalogues_that_are_known() -> None:
    assert shipped_catalogs() == ("cdse", "earth-search", "planetary-computer")
    for name in shipped_catalogs():
        described = describe_catalog(name)
        assert set(described.conventions.names) == set(ALL)
        assert described.conventions.offset is None
        assert described.collection == "sentinel-2-l2a"
        assert describe_catalog(described.url) == describe_catalog(f"{described.url}/") == described
        other = describe_catalog(name, "sentinel-2-c1-l2a")
        assert other.collection == "sentinel-2-c1-l2a"
        assert (other.url, other.access) == (described.url, described.access)


def test_how_the_known_catalogues_rasters_are_opened() -> None:
    assert describe_catalog("earth-search").access.access() == Access()
    signed = describe_catalog("planetary-computer").access.access()
    assert signed.signs("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/x.tif")
    assert not signed.signs("https://example.com/x.tif")
    keys = describe_catalog("cdse").access.access()
    assert keys.s3_endpoint == "https://eodata.dataspace.copernicus.eu"
    assert keys.requests == 4


def test_items_of_the_known_catalogues_are_read_by_their_own_names(shared_data: Path) -> None:
    text = (shared_data / "stac" / "planetary-computer-s2-35MNM.json").read_text()
    real = json.loads(text)["features"][0]
    published = {
        "earth-search": earth_search_item(),
        "cdse": cdse_item(),
        "planetary-computer": real,
    }
    for name, item in published.items():
        known = normalise(item, describe_catalog(name).conventions)
        assert set(known.assets) == set(ALL)
        assert known == normalise(item), "its names are among those that are tried unasked"
        for other in set(published) - {name}:
            assert set(normalise(item, describe_catalog(other).conventions).assets) != set(ALL)


def test_an_archive_of_ones_own_beside_its_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_static(tmp_path / "archive", {"mine": [own_item("2021-06-01")]})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (item,) = found(written(tmp_path, own_description("archive", 'collection = "mine"')))
    assert set(item.assets) == set(ALL)
    for band, name in OWN.items():
        asset = item.assets[band]
        assert Path(asset.href) == (
            tmp_path / "archive" / "mine" / "2021" / item.id / f"{name}.tif"
        )
        assert asset.offset == (0 if band == SCL else -1000)  # by its baseline


def test_a_shipped_name_goes_before_a_folder_beside_the_description(tmp_path: Path) -> None:
    (tmp_path / "earth-search").mkdir()
    with pytest.raises(CatalogError, match="another description"):
        describe_catalog(str(written(tmp_path, own_description("earth-search"))))


def test_the_collection_of_the_settings_goes_before_the_descriptions(tmp_path: Path) -> None:
    with api_server(ApiState([own_item("2021-06-01")])) as address:
        file = written(tmp_path, own_description(address, 'collection = "other"'))
        assert len(found(file, collection="sentinel-2-l2a")) == 1
        with pytest.raises(CatalogError, match=r"'other': .* no such collection, but sentinel-2"):
            found(file)


def test_one_of_several_names_is_taken_and_other_assets_are_not_read(tmp_path: Path) -> None:
    items = [own_item("2021-06-01", B08="NIR_old"), own_item("2021-07-01")]
    text = own_description("ADDRESS", B08=["nir_OLD", OWN["B08"]])
    without = text.replace(f'B02 = "{OWN["B02"]}"\n', "")
    assert without != text
    with api_server(ApiState(items)) as address:
        older, newer = found(written(tmp_path, text.replace("ADDRESS", address)))
        bare, _ = found(written(tmp_path, without.replace("ADDRESS", address)))
    assert older.assets["B08"].href == "https://example.com/NIR_old.tif"
    assert newer.assets["B08"].href == f"https://example.com/{OWN['B08']}.tif"
    assert set(older.assets) == set(newer.assets) == set(ALL)
    assert set(bare.assets) == set(ALL) - {"B02"}, "an asset `blue` is there, but not named"


@pytest.mark.parametrize("offset", [0, -1000, 500])
def test_a_fixed_offset_goes_before_what_items_say(tmp_path: Path, offset: int) -> None:
    applied = own_item("2021-07-01")
    applied["properties"]["earthsearch:boa_offset_applied"] = True
    with api_server(ApiState([own_item("2021-06-01"), applied])) as address:
        items = found(written(tmp_path, own_description(address, f"offset = {offset}")))
    assert len(items) == 2
    for item in items:
        assert {item.assets[band].offset for band in BANDS} == {offset}
        assert item.assets[SCL].offset == 0


def test_signed_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SIGNING_KEY", HUSH)
    text = own_description("https://example.com/v1") + (
        '[access]\nkind = "signed"\nhosts = "*.example.com"\nkey = "MY_SIGNING_KEY"\n'
        'token_url = "https://sign.example.com/{account}/{container}"\nrequests = 8\n'
    )
    access = describe_catalog(written(tmp_path, text)).access.access()
    assert access.signs("https://a.example.com/c/x.tif")
    assert not access.signs("https://a.blob.core.windows.net/c/x.tif")
    assert access == Access(
        token_url="https://sign.example.com/{account}/{container}",
        signed_hosts="*.example.com",
        token_key="MY_SIGNING_KEY",
        requests=8,
    )
    assert HUSH not in repr(access)


def test_s3_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_S3_KEY", "who")
    monkeypatch.setenv("MY_S3_SECRET", HUSH)
    text = f'{URL}[access]\nkind = "s3"\nendpoint = "https://s3.example.com:9000"\n'
    keyless = describe_catalog(written(tmp_path, text)).access.access()
    assert keyless.s3_options()["AWS_NO_SIGN_REQUEST"] == "YES"
    described = describe_catalog(
        written(tmp_path, text + 'key = "MY_S3_KEY"\nsecret = "MY_S3_SECRET"\n')
    )
    options = described.access.access().s3_options()
    assert options["AWS_S3_ENDPOINT"] == "s3.example.com:9000"
    assert (options["AWS_ACCESS_KEY_ID"], options["AWS_SECRET_ACCESS_KEY"]) == ("who", HUSH)
    assert HUSH not in described.model_dump_json()


def test_a_file_as_windows_writes_it(tmp_path: Path) -> None:
    text = own_description("https://example.com/v1").replace("\n", "\r\n")
    described = describe_catalog(written(tmp_path, b"\xef\xbb\xbf" + text.encode()))
    assert described.conventions.names["B02"] == (OWN["B02"],)


SIGNED = '[access]\nkind = "signed"\ntoken_url = "https://sign.example.com/{account}"\n'
S3 = '[access]\nkind = "s3"\nendpoint = "https://s3.example.com"\n'
BAD: dict[str, tuple[str | bytes, str]] = {
    "a key misspelt": (URL + 'asset = "x"\n', r"asset: .*no such key \(did you mean assets\?\)"),
    "a key of another world": (URL + "zoom = 3\n", r"zoom: .*no such key \(keys are url, coll"),
    "a key of access misspelt": (URL + '[access]\nknd = "s3"\n', r"access\.knd: .*mean kind\?"),
    "an unknown band": (URL + ASSETS + 'B09 = "x"\n', r"assets: B09 is no band; bands are B02,"),
    "no SCL": (URL + '[assets]\nB02 = "blue"\n', r"assets: SCL, .*is missing; add SCL ="),
    "no name": (URL + ASSETS + "B02 = []\n", r"assets: B02 takes .* name, \"blue\", or a l"),
    "a number for a name": (URL + ASSETS + "B02 = 2\n", r"assets: B02 takes an asset's name"),
    "one name for two bands": (URL + ASSETS + 'B02 = "SCL"\n', r"SCL is the name of both SCL and"),
    "assets no table": (URL + 'assets = "earth-search"\n', r"assets: .*table: write \[assets\]"),
    "access no table": (URL + 'access = "s3"\n', r"access: .*table: write \[access\]"),
    "not TOML": (URL + "offset = \n", r"not valid TOML \(.*line 2.*Mend the line"),
    "not UTF-8": (b'url = "\xe9"', r"it is not UTF-8 \('utf-8'.*position 7"),
    "no address": ('collection = "x"\n', r"url: it is missing\. Write url ="),
    "an empty address": ('url = ""\n', r"url: "),
    "a known catalogue": ('url = "cdse"\n', r"its url is cdse, which is another description"),
    "an offset in words": (URL + f'offset = "{HUSH}"\n', r'offset: write "by-item", or .*-1000'),
    "an offset as text": (URL + 'offset = "-1000"\n', r'offset: write "by-item", or .*-1000'),
    "an offset of reflectance": (URL + "offset = -0.1\n", r"offset: write"),
    "an offset that is true": (URL + "offset = true\n", r"offset: write"),
    "no requests": (URL + "[access]\nrequests = 0\n", r"access\.requests: 0 .* must be 1 or more"),
    "requests as text": (URL + '[access]\nrequests = "4"\n', r"requests: .* a whole number"),
    "an unknown access": (URL + '[access]\nkind = "azure"\n', "kind: .*be open, signed or s3"),
    "token_url without signed": (
        URL + SIGNED.replace('kind = "signed"\n', ""),
        r'access: token_url goes with kind = "signed", and this is kind = "open"',
    ),
    "signed without token_url": (URL + '[access]\nkind = "signed"\n', r"needs token_url"),
    "s3 without endpoint": (URL + '[access]\nkind = "s3"\n', r'kind = "s3" needs endpoint'),
    "hosts with s3": (URL + S3 + 'hosts = "*"\n', r'hosts goes with kind = "signed"'),
    "secret with signed": (URL + SIGNED + 'secret = "MY_KEY"\n', r'secret goes with kind = "s3"'),
    "key without secret": (URL + S3 + 'key = "MY_KEY"\n', r"go together, and secret is missing"),
    "secret without key": (URL + S3 + 'secret = "MY_KEY"\n', r"go together, and key is missing"),
    "a key itself": (
        URL + S3 + f'key = "{HUSH}"\nsecret = "{HUSH}/a_b+c"\n',
        r"access\.key: write the name .*access\.secret: write the name",
    ),
    "a strange part": (
        URL + SIGNED.replace("{account}", "{bucket}"),
        r"access\.token_url: \{bucket\} is unknown; only \{account\} and \{container\}",
    ),
    "a lonely brace": (URL + SIGNED.replace("{account}", "{"), r"access\.token_url: "),
    "a secret in the address": (
        f'url = "https://me:{HUSH}@example.com/v1"\n', r"url: .*secret; write \$\{NAME\} in their",
    ),
    "a secret in its query": (f'url = "https://example.com?sig={HUSH}"\n', r"url: .*secret"),
    "a secret in token_url": (
        URL + SIGNED.replace("{account}", f"{{account}}?code={HUSH}"),
        r"access\.token_url: an address is http\(s\)://… without user, password, query",
    ),
    "a secret in endpoint": (
        URL + S3.replace("s3.example.com", f"me:{HUSH}@s3.example.com"),
        r"access\.endpoint: an address is http\(s\)://… without user, password",
    ),
    "a variable in endpoint": (URL + S3.replace("s3.ex", "${MY_HOST}.ex"), r"or \$\{NAME\}"),
    "a bucket in endpoint": (
        URL + S3.replace("example.com", "example.com/bucket"), r"https://host, without a path",
    ),
    "no server in endpoint": (URL + S3.replace("https://s3.", "s3."), r"endpoint: an address is"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_errors_name_the_wrong_part_of_a_description(case: str, tmp_path: Path) -> None:
    content, problem = BAD[case]
    file = written(tmp_path, content)
    with pytest.raises(CatalogError, match=problem) as told:
        describe_catalog(file)
    assert told.value.given == file
    assert told.value.remedy
    assert "pydantic" not in str(told.value)
    assert HUSH not in "".join(traceback.format_exception(told.value))


def test_the_manual_has_every_key_and_its_example_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "catalogues.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    described = describe_catalog(written(tmp_path, example))
    assert set(described.conventions.names) == set(ALL)
    for key in (*CatalogDescription.model_fields, *AccessDescription.model_fields):
        assert f"`{key}`" in page or f"`[{key}]`" in page


def test_no_such_description(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no\.toml: .*no such file.*Give cdse, earth-search"):
        describe_catalog(str(tmp_path / "no.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(CatalogError, match=r"cannot be read \(is a directory\)"):
        describe_catalog(str(tmp_path / "folder.toml"))
    with pytest.raises(CatalogError, match=r"^https://example\.com/v1: url: .*secret") as told:
        describe_catalog(f"https://me:{HUSH}@example.com/v1?x={HUSH}")
    assert HUSH not in str(told.value)


def test_a_description_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"elsewhere: no such catalogue\. Give cdse, earth-s"):
        found(written(tmp_path, own_description("elsewhere")))


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"ur": "cdse"}, r"catalog\.ur: there is no such setting \(did you mean url\?\)"),
        ("cdse", r"catalog: this is a section: write \[catalog\]"),
        ({"url": 3}, r"catalog\.url: it must be a text in quotes"),
        ({"url": f"https://{HUSH}@example.com"}, r"catalog\.url: .*write \$\{NAME\}"),
        ({"max_cloud_cover": 101}, r"catalog\.max_cloud_cover: .*it must be 100 or less"),
        ({"assets": {}}, r"catalog\.assets: there is no such setting"),
    ],
)
def test_errors_name_the_wrong_part_of_the_settings_section(section: Any, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as told:
        make_search_settings({"region": REGION, "year": 2021, "catalog": section})
    assert HUSH not in str(told.value)
