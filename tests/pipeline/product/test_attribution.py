"""Whose data a map says that it is made of: Copernicus's, unless the items say otherwise."""

from pathlib import Path

from pipeline.catalog.normalise import normalise
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.run import Run
from pipeline.product.manifest import new_manifest
from pipeline.product.stac import collection
from pipeline.sample.archive import SampleArchive
from pipeline.settings.map import make_settings
from tests.catalog_servers import write_static
from tests.stac_items import earth_search_item


def _run_of(catalog: Path, region: str, out: Path) -> Run:
    settings = {"region": region, "year": 2021, "classes": "lake, forest", "checkpoint": "sample"}
    prepared = prepare_run(
        make_settings({**settings, "catalog": {"url": str(catalog)}, "out": str(out)})
    )
    return prepared.run


def test_maps_of_the_sample_archive_say_that_it_is_made_up(
    sample_archive: SampleArchive, tmp_path: Path
) -> None:
    run = _run_of(sample_archive.folder, sample_archive.region, tmp_path)
    assert run.manifest.attribution.startswith("Contains made-up data of timesen's sample archive")
    assert "Copernicus" not in run.manifest.attribution
    assert "copernicus" not in str(collection(run.manifest, [], run.vocabulary)).lower()


def test_maps_of_published_items_name_copernicus(tmp_path: Path) -> None:
    items = {"sentinel-2-l2a": [earth_search_item()]}
    catalog = write_static(tmp_path / "archive", items)
    run = _run_of(catalog, "4.6,50.8,4.61,50.81", tmp_path / "run")
    assert run.manifest.attribution.startswith(
        "Contains modified Copernicus Sentinel data 2021 processed with timesen"
    )
    assert "sentinels.copernicus.eu" in str(collection(run.manifest, [], run.vocabulary))


def test_what_both_kinds_of_items_state_is_said() -> None:
    other = normalise(earth_search_item(attribution="Contains data\n of another"))
    assert other.attribution == "Contains data of another"
    manifest = new_manifest({"attributions": ["", other.attribution]}, {"year": 2021})
    assert manifest.attribution.startswith(
        "Contains modified Copernicus Sentinel data 2021; Contains data of another processed with"
    )
