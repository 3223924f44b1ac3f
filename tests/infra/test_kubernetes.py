"""Kubernetes' objects: what a pod may do, what reaches it, and that all that is named is there."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.files import KUBERNETES, Document, containers, manifests, pods

SECRETS = {
    "timesen-database": {"password"},
    "timesen-prefect": {"auth"},
    "timesen-store": set(),  # all keys, as environment variables
}


def _containers() -> list[object]:
    return [
        pytest.param(container, id=f"{name} {container['name']}")
        for name, pod in pods().items()
        for container in containers(pod)
    ]


@pytest.mark.parametrize("pod", pods().values(), ids=pods())
def test_a_pod_is_nobody(pod: Document) -> None:
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] >= 999
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    for container in pod["containers"]:
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


@pytest.mark.parametrize("container", _containers())
def test_a_container_writes_to_volumes_alone(container: Document) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]


def test_a_worker_may_use_the_memory_that_it_has() -> None:
    for name in ("dask-workers", "dask-gpu-workers"):
        (container,) = pods()[name]["containers"]
        memory = container["resources"]["limits"]["memory"]
        assert f"--memory-limit={memory}B" in container["args"]
        assert f"--nthreads={container['resources']['requests']['cpu']}" in container["args"]


def test_a_worker_with_a_gpu_offers_it_to_dask() -> None:
    (container,) = pods()["dask-gpu-workers"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "--resources=GPU=1" in container["args"]
    assert container["image"].endswith("-gpu")


def test_secrets_are_named_and_not_written() -> None:
    assert [one for one in manifests() if one["kind"] == "Secret"] == []
    used: dict[str, set[str]] = {}
    for pod in pods().values():
        for container in containers(pod):
            for one in container.get("env", []):
                if reference := one.get("valueFrom", {}).get("secretKeyRef"):
                    used.setdefault(reference["name"], set()).add(reference["key"])
            for one in container.get("envFrom", []):
                if "secretRef" in one:
                    used.setdefault(one["secretRef"]["name"], set())
    assert used == SECRETS


def test_what_pods_name_is_there() -> None:
    base = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())
    made = {one["name"] for one in base["configMapGenerator"]}
    used = set()
    for pod in pods().values():
        volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
        used |= {one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one}
        for container in containers(pod):
            maps = [one.get("configMapRef") for one in container.get("envFrom", [])]
            used |= {one["name"] for one in maps if one}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    assert used == made


def test_services_reach_pods_by_ports_that_these_have() -> None:
    for service in (one for one in manifests() if one["kind"] == "Service"):
        (pod,) = (
            one["spec"]["template"]
            for one in manifests()
            if one["kind"] in ("Deployment", "StatefulSet")
            and one["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
        )
        assert pod["metadata"]["labels"] == service["spec"]["selector"]
        ports = {one["containerPort"] for one in pod["spec"]["containers"][0]["ports"]}
        assert {one["port"] for one in service["spec"]["ports"]} <= ports


def _matches(selector: dict[str, Any], name: str) -> bool:
    if labels := selector.get("matchLabels"):
        return bool(labels == {"app.kubernetes.io/name": name})
    (expression,) = selector["matchExpressions"]
    return name in expression["values"]


def test_who_reaches_whom() -> None:
    policies = [one["spec"] for one in manifests() if one["kind"] == "NetworkPolicy"]
    every = [one for one in policies if one["podSelector"] == {}]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in every
    own = [one for one in policies if one["podSelector"]]

    def reached(direction: str, peer: str) -> set[tuple[str, str]]:
        return {
            (name, other)
            for policy in own
            for name in pods()
            if _matches(policy["podSelector"], name)
            for rule in policy.get(direction, [])
            for one in rule.get(peer, [])
            for other in pods()
            if "podSelector" in one and _matches(one["podSelector"], other)
        }

    let_in = {(other, name) for name, other in reached("ingress", "from")}
    workers = ("dask-workers", "dask-gpu-workers")
    assert let_in == {
        ("prefect-server", "database"),
        ("prefect-worker", "prefect-server"),
        ("prefect-worker", "dask-scheduler"),
        *((worker, "dask-scheduler") for worker in workers),
        *(("dask-scheduler", worker) for worker in workers),
        *((one, other) for one in workers for other in workers),
    }
    assert reached("egress", "to") == let_in - {("prefect-server", "database")}, "it: any 5432"


def _built(folder: Path) -> str:
    if not (kubectl := shutil.which("kubectl")):
        pytest.skip("kubectl is not installed: it builds what kustomization.yaml says")
    built = subprocess.run(
        [kubectl, "kustomize", str(folder)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return built.stdout


@pytest.mark.parametrize("folder", ["base", "example"])
def test_kustomize_builds_it(folder: str) -> None:
    text = _built(KUBERNETES / folder)
    objects = list(yaml.safe_load_all(text))
    assert {one["metadata"].get("namespace", "timesen") for one in objects} == {"timesen"}
    made = {one["metadata"]["name"]: one for one in objects if one["kind"] == "ConfigMap"}
    used = text.count("secretName: timesen-dask-tls")
    tls = [
        one for one in made.values() if "tls://" in one["data"].get("DASK_SCHEDULER_ADDRESS", "")
    ]
    assert (used, len(tls)) == ((4, 1) if folder == "example" else (0, 0))
    for one in objects:
        if one["kind"] == "Deployment":
            for container in containers(one["spec"]["template"]["spec"]):
                named = [ref.get("configMapRef") for ref in container.get("envFrom", [])]
                assert {ref["name"] for ref in named if ref} <= made.keys()


def test_a_database_elsewhere_takes_the_place_of_the_own(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    own = tmp_path / "kubernetes" / "own"
    own.mkdir()
    (own / "kustomization.yaml").write_text(
        "kind: Kustomization\nresources: [../base]\ncomponents: [../external-database]\n"
    )
    objects = list(yaml.safe_load_all(_built(own)))
    assert not [one for one in objects if one["metadata"]["name"] == "database"]
    (server,) = (
        one["spec"]["template"]["spec"]["containers"][0]["env"]
        for one in objects
        if (one["kind"], one["metadata"]["name"]) == ("Deployment", "prefect-server")
    )
    database = {one["name"] for one in server if "_DATABASE_" in one["name"]}
    assert database == {"PREFECT_SERVER_DATABASE_CONNECTION_URL"}
