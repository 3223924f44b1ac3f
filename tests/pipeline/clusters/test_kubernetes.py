"""The objects of Dask's operator, by the operator's own schemas; and no Kubernetes that answers."""

import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from pipeline.clusters.groups import groups_of
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.clusters.kubernetes import KubernetesCluster, cluster_object, worker_spec
from pipeline.clusters.settings import ClusterSettings, workers_of

SETTINGS: dict[str, Any] = {
    "kind": "kubernetes",
    "image": "registry.example/timesen:0.1.0",
    "encoder_image": "registry.example/timesen:0.1.0-gpu",
    "namespace": "maps",
    "environment_secrets": ["store"],
    "workers": 3,
    "threads": 2,
    "memory_limit": "4GiB",
    "encoders": 2,
    "encoder_threads": 4,
    "encoder_memory": "12GiB",
}


@cache
def schema(name: str) -> dict[str, Any]:
    """The schema of a kind of the operator's objects, whole pods included."""
    found = importlib.util.find_spec("dask_kubernetes")
    if found is None or found.origin is None:
        pytest.skip("dask-kubernetes, the extra kubernetes, is not installed")
    charts = Path(found.origin).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    written = yaml.safe_load((charts / f"{name}.yaml").read_text())
    kind: dict[str, Any] = written["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return kind


def unknown(value: Any, known: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """The keys that a schema does not have: Kubernetes drops them without a word."""
    if isinstance(value, list):
        for one in value:
            yield from unknown(one, known.get("items", {}), place)
    if isinstance(value, dict) and "properties" in known:
        for key, one in value.items():
            if key not in known["properties"]:
                yield f"{place}.{key}"
            else:
                yield from unknown(one, known["properties"][key], f"{place}.{key}")


def require_valid(made: dict[str, Any], name: str) -> None:
    jsonschema.Draft202012Validator(schema(name)).validate(made)
    of_all = ("apiVersion", "kind", "metadata")  # which no schema needs to name
    own = {key: value for key, value in made.items() if key not in of_all}
    assert list(unknown(own, schema(name))) == []


def test_the_operator_takes_the_cluster_and_its_second_group() -> None:
    settings = ClusterSettings(**SETTINGS)
    readers, encoders = groups_of(settings)
    cluster = cluster_object(settings, readers)
    require_valid(cluster, "daskcluster")
    group = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {"name": "timesen-encoders"},
        "spec": {"cluster": "timesen", "worker": worker_spec(settings, encoders)},
    }
    require_valid(group, "daskworkergroup")
    with pytest.raises(jsonschema.ValidationError):
        require_valid(group | {"spec": {"cluster": 3}}, "daskworkergroup")
    cluster["spec"]["worker"]["spec"]["containers"][0]["cpus"] = 3
    with pytest.raises(AssertionError, match="cpus"):
        require_valid(cluster, "daskcluster")


def test_readers_and_encoders_are_sized_apart() -> None:
    settings = ClusterSettings(**SETTINGS)
    readers, encoders = (worker_spec(settings, group) for group in groups_of(settings))
    assert (readers["replicas"], encoders["replicas"]) == (3, 2)
    (first,), (second,) = (spec["spec"]["containers"] for spec in (readers, encoders))
    assert "--resources=CPU=2" in first["args"]
    assert "--resources=GPU=1" in second["args"]
    assert f"--memory-limit={4 * 2**30}B" in first["args"]
    assert second["resources"] == {
        "requests": {"cpu": "4", "memory": str(12 * 2**30)},
        "limits": {"memory": str(12 * 2**30), "nvidia.com/gpu": "1"},
    }
    assert first["image"] == SETTINGS["image"]
    assert second["image"] == SETTINGS["encoder_image"]
    assert second["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert workers_of(settings).encoders == 2


def test_without_encoders_all_workers_do_all() -> None:
    settings = ClusterSettings(**SETTINGS | {"encoders": 0})
    (group,) = groups_of(settings)
    (container,) = worker_spec(settings, group)["spec"]["containers"]
    assert not [word for word in container["args"] if "--resources" in word]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"image": None}, "kubernetes needs image"),
        ({"image": "a b"}, "no name of Kubernetes"),
        ({"tls_ca": "a", "tls_cert": "b", "tls_key": "c"}, "have no TLS"),
        ({"workers": 5, "most_workers": 4}, "most_workers is 4"),
    ],
)
def test_settings_that_are_refused(changed: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ClusterSettings(**SETTINGS | changed)


def test_no_kubernetes_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_kubernetes", reason="the extra kubernetes is not installed")
    config = tmp_path / "config"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
                "users": [{"name": "u", "user": {"token": "none"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    with (
        pytest.raises(ClusterUnavailable, match="Kubernetes gives no Dask cluster"),
        KubernetesCluster().open(ClusterSettings(**SETTINGS)),
    ):
        raise AssertionError
