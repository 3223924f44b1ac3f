"""compose.yaml: only loopback, no secrets, no more rights than needed; and its variables."""

import re
import stat

import pytest

from tests.infra.files import INFRA, Document, environments, services

TEXT = (INFRA / "compose.yaml").read_text(encoding="utf-8")
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (INFRA / ".env.example").read_text(), re.MULTILINE))
ENDS = {"deployments", "bucket"}
"""The services that do something once."""


def _services() -> list[object]:
    return [pytest.param(service, id=name) for name, service in services().items()]


def test_ports_are_those_of_loopback() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_database_is_reached_by_its_server_alone() -> None:
    found = {name for name, one in services().items() if "database" in one.get("networks", [])}
    assert found == {"database", "prefect-server"}


@pytest.mark.parametrize("service", _services())
def test_a_service_has_no_more_rights_than_it_needs(service: Document) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "cap_add"} & service.keys()


def test_what_runs_on_is_checked_and_started_again() -> None:
    for name, service in services().items():
        assert ("healthcheck" in service) == (name not in ENDS), name
        assert service["restart"] == ("on-failure" if name in ENDS else "unless-stopped")


def test_a_service_waits_for_what_it_needs() -> None:
    for service in services().values():
        for other, condition in service.get("depends_on", {}).items():
            said = "service_completed_successfully" if other in ENDS else "service_healthy"
            assert condition == {"condition": said}


def test_secrets_are_in_the_environment_alone() -> None:
    secret = re.compile(r"PASSWORD|_KEY$|_KEY_ID$|AUTH|SECRET")
    for name, value in environments():
        if secret.search(name) and "__TLS__" not in name:
            assert re.fullmatch(r"(\$\{\w+:\?[^}]*\})?", value), name
    assert {name for name in EXAMPLE if secret.search(name)} == {
        name for name, value in EXAMPLE.items() if not value
    }
    ignored = (INFRA.parent / ".gitignore").read_text().splitlines()
    assert {"/infra/.env", "/infra/tls/"} <= set(ignored)


def test_every_variable_is_explained() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert used == set(EXAMPLE)
    needed = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert {name for name, value in EXAMPLE.items() if not value} <= needed


def test_files_that_are_mounted_are_there() -> None:
    mounted = [
        volume.partition(":")[0]
        for service in services().values()
        for volume in service.get("volumes", [])
    ]
    files = [name for name in mounted if name.startswith(".")]
    assert files
    for name in files:
        assert (INFRA / name).stat().st_mode & stat.S_IROTH


def test_tls_is_for_all_parts_of_dask() -> None:
    own = services("compose.tls.yaml")
    dask = {name for name, one in services().items() if one.get("entrypoint", [""])[0] == "dask"}
    assert {name for name, one in own.items() if "volumes" in one} == dask | {"prefect-worker"}
    assert own.keys() == dask | {"prefect-worker", "deployments"}
