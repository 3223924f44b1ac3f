"""What infra/ runs and sets: the programs' own parsers and settings take it."""

import subprocess
from collections.abc import Mapping

import click
import dask.config
import distributed  # which adds its defaults to Dask's
import numba.core.config
import pytest
from cyclopts import CycloptsError
from distributed.cli import dask_scheduler, dask_worker
from prefect.cli._app import _app as prefect_cli
from prefect.settings.legacy import _get_settings_fields
from prefect.settings.models.root import Settings

from tests.infra.files import commands, environments, pods, services
from tests.services import program

assert distributed
DASK: Mapping[str, click.Command] = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
# Read by code, without a list of names.
OTHERS = {
    "AWS_ENDPOINT_URL": "botocore", "AWS_ACCESS_KEY_ID": "botocore",
    "AWS_SECRET_ACCESS_KEY": "botocore", "AWS_REGION": "GDAL",
    "PYTHONUNBUFFERED": "Python", "PATH": "the shell", "DO_NOT_TRACK": "Prefect",
    "NVIDIA_VISIBLE_DEVICES": "NVIDIA's container toolkit",
    "NVIDIA_DRIVER_CAPABILITIES": "NVIDIA's container toolkit",
    "POSTGRES_USER": "PostgreSQL's image", "POSTGRES_DB": "PostgreSQL's image",
    "POSTGRES_PASSWORD": "PostgreSQL's image", "PGDATA": "PostgreSQL",
    "ROOT_ACCESS_KEY": "versitygw", "ROOT_SECRET_KEY": "versitygw",
    "BUCKET": "compose.yaml",
}  # fmt: skip


def _of(name: str) -> list[list[str]]:
    found = [words[1:] for words in commands() if words[0] == name]
    assert found, f"infra/ runs no {name}"
    return found


@pytest.mark.parametrize("words", _of("dask"), ids=" ".join)
def test_dask(words: list[str]) -> None:
    DASK[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize("words", _of("prefect"), ids=" ".join)
def test_prefect(words: list[str]) -> None:
    own = [word for word in words if word != "--no-prompt"]  # an option of `prefect` itself
    command, *_ = prefect_cli.parse_args(own, exit_on_error=False, print_error=False)
    assert command.__module__.startswith("prefect.cli.")
    with pytest.raises(CycloptsError):
        prefect_cli.parse_args([*own, "--no-such"], exit_on_error=False, print_error=False)


def test_pg_isready() -> None:
    command = program("pg_isready")
    for words in _of_health("pg_isready"):
        ran = subprocess.run([command, *words, "--host", "/nowhere"], check=False, timeout=30)
        assert ran.returncode == 2, "2: no server there; 3: it does not know an option"


def _of_health(name: str) -> list[list[str]]:
    checks = [service.get("healthcheck", {}).get("test", []) for service in services().values()]
    found = [words[2:] for words in checks if words[1:2] == [name]]
    for pod in pods().values():
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            words = pod["containers"][0][kind].get("exec", {}).get("command", [])
            found += [words[1:]] if words[:1] == [name] else []
    assert found
    return found


def test_variables_are_ones_that_a_program_reads() -> None:
    prefect = set(_get_settings_fields(Settings))
    given = set(dict(environments()))
    unknown = {
        name
        for name in given - prefect - set(OTHERS)
        if not (name.startswith("TIMESEN_") or _dask_knows(name) or _numba_knows(name))
    }
    assert unknown == set()
    assert {name for name in given if name.startswith("PREFECT_")} <= prefect


def _dask_knows(name: str) -> bool:
    if not name.startswith("DASK_"):
        return False
    (key,) = dask.config.collect_env({name: "1"})
    if key in ("scheduler-address", "scheduler_address"):  # has no default
        return True
    place = dask.config.config
    for part in name.removeprefix("DASK_").lower().split("__"):
        part = dask.config.canonical_name(part, place)
        if part not in place:
            return False
        place = place[part]
    return True


def _numba_knows(name: str) -> bool:
    return name.startswith("NUMBA_") and hasattr(numba.core.config, name.removeprefix("NUMBA_"))


def test_variables_that_nothing_reads_are_noticed() -> None:
    assert not _dask_knows("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTIONS")
    assert not _numba_knows("NUMBA_CACHE_FOLDER")
