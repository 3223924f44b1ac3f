"""The cluster of kind "kubernetes": objects of Dask's operator, through dask-kubernetes.

The operator must run in the Kubernetes cluster. It makes a scheduler, readers, and a second group
of workers with a GPU each. Its connections are not encrypted: network policies must keep others
away from the scheduler (`infra/kubernetes` has TLS, with kind = "address").
"""

import contextlib
import re
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from models.option import Option
from pipeline.clusters.groups import (
    GroupFields,
    WorkerGroup,
    groups_of,
    require_package,
    wait_for_groups,
    workers_of_groups,
)
from pipeline.clusters.kind import ClusterUnavailable, Workers

if TYPE_CHECKING:
    from distributed import Client

_LONGEST_REASON = 300  # characters of another library's words
_SCHEDULER = {"cpu": "500m", "memory": "2Gi"}
_SCHEDULER_MEMORY = "8Gi"
_USER = 10001  # of the images
_HEALTH = "http-dashboard"  # a port's name; the operator's schema takes no number in a probe
_DASHBOARD, _WORKER_PORT = 8787, 8788


class KubernetesFields(GroupFields):
    """The settings that only Kubernetes has."""

    image: Annotated[str | None, Option(hidden=True)] = Field(
        None, description="the image of scheduler and readers (kubernetes)"
    )
    encoder_image: Annotated[str | None, Option(hidden=True)] = Field(
        None, description="the image of encoders (kubernetes); default: image"
    )
    namespace: Annotated[str | None, Option(hidden=True)] = Field(
        None, description="the namespace (kubernetes); default: that of kubectl"
    )
    environment_secrets: Annotated[tuple[str, ...], Option(hidden=True)] = Field(
        (),
        description="secrets of Kubernetes whose keys are environment variables of the workers, "
        "such as AWS_ACCESS_KEY_ID (kubernetes)",
    )

    @field_validator("image", "encoder_image", "namespace")
    @classmethod
    def _names_of_kubernetes(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w./:@-]+", value):
            raise ValueError(f"{value!r} is no name of Kubernetes'")
        return value

    @model_validator(mode="after")
    def _fits_kubernetes(self) -> Self:
        if self.kind == "kubernetes" and self.image is None:
            raise ValueError("kubernetes needs image, in which timesen is installed")
        if self.kind == "kubernetes" and self.tls_ca is not None:
            raise ValueError(
                "the operator's clusters have no TLS; leave tls_ca, tls_cert and tls_key out, or "
                "take kind = address and a scheduler with TLS"
            )
        return self


class KubernetesCluster:
    """A cluster of Dask's operator, which is deleted at the end."""

    remote = True

    def workers(self, settings: KubernetesFields, cores: int, memory: int) -> Workers:
        """The readers, as many as there may be, and the encoders."""
        return workers_of_groups(groups_of(settings))

    def require(self) -> None:
        """Raise ClusterError where dask-kubernetes is missing."""
        require_package("kubernetes", "dask_kubernetes", "kubernetes")

    @contextlib.contextmanager
    def open(self, settings: KubernetesFields) -> "Iterator[Client]":
        """Create the objects, and wait for a worker of each group."""
        self.require()
        import kr8s
        from dask_kubernetes.operator import KubeCluster
        from distributed import Client

        groups = groups_of(settings)
        made = cluster_object(settings, groups[0])
        with contextlib.ExitStack() as stack:
            try:
                # Asked first: what `KubeCluster` begins it tries to remove when Python ends.
                list(kr8s.get("daskclusters.kubernetes.dask.org", namespace=settings.namespace))
                cluster = stack.enter_context(
                    KubeCluster(
                        custom_cluster_spec=made,
                        namespace=settings.namespace,
                        resource_timeout=int(60 * settings.wait_minutes),
                        quiet=True,
                    )
                )
                for group in groups[1:]:
                    spec = worker_spec(settings, group)
                    cluster.add_worker_group(group.name, custom_spec=spec)
                if groups[0].most > groups[0].least:
                    cluster.adapt(minimum=groups[0].least, maximum=groups[0].most)
                client = stack.enter_context(Client(cluster, set_as_default=False))
            except Exception as error:  # of kr8s, httpx, kubeconfig's and the operator's
                said = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
                raise ClusterUnavailable(
                    f"Kubernetes gives no Dask cluster ({said}). Look at `kubectl get daskclusters`"
                    ", and whether Dask's operator is installed."
                ) from error
            name = made["metadata"]["name"]
            where = f"Look at `kubectl get pods --selector dask.org/cluster-name={name}`."
            wait_for_groups(client, groups, settings.wait_minutes, where)
            yield client


def cluster_object(settings: KubernetesFields, readers: WorkerGroup) -> dict[str, Any]:
    """The operator's `DaskCluster`: a scheduler and the readers, under a name of its own."""
    name = f"timesen-{secrets.token_hex(4)}"
    ports = {"tcp-comm": 8786, _HEALTH: _DASHBOARD}
    scheduler = {
        **_container(settings.image, ports),
        "name": "scheduler",
        "command": ["dask", "scheduler"],
        "args": ["--port", "8786", "--dashboard-address", f":{_DASHBOARD}"],
        "resources": {"requests": _SCHEDULER, "limits": {"memory": _SCHEDULER_MEMORY}},
    }
    service = {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [
            {"name": port, "protocol": "TCP", "port": number, "targetPort": port}
            for port, number in ports.items()
        ],
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "worker": worker_spec(settings, readers),
            "scheduler": {"spec": _pod(scheduler), "service": service},
        },
    }


def worker_spec(settings: KubernetesFields, group: WorkerGroup) -> dict[str, Any]:
    """The `worker` of a `DaskCluster` or of a `DaskWorkerGroup`."""
    encodes = group.name == "encoders"
    image = (settings.encoder_image if encodes else None) or settings.image
    gpu = {"nvidia.com/gpu": "1"} if encodes else {}
    memory = str(group.memory)
    container = {
        **_container(image, {_HEALTH: _WORKER_PORT}),
        "name": "worker",
        "command": ["dask", "worker"],
        # The operator says in the environment where the scheduler is, and what the name is.
        "args": [
            "--name=$(DASK_WORKER_NAME)",
            f"--nthreads={group.threads}",
            f"--memory-limit={group.memory}B",
            f"--dashboard-address=:{_WORKER_PORT}",
            *([f"--resources={group.offered}"] if group.offered else []),
        ],
        "envFrom": [{"secretRef": {"name": name}} for name in settings.environment_secrets],
        "resources": {
            "requests": {"cpu": str(group.threads), "memory": memory},
            "limits": {"memory": memory, **gpu},
        },
    }
    pod = _pod(container)
    if encodes:
        taint = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        pod["tolerations"] = [taint]
    return {"replicas": group.least, "spec": pod}


def _pod(container: dict[str, Any]) -> dict[str, Any]:
    """A pod that fits the Pod Security Standard "restricted", and may ask Kubernetes nothing."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }


def _container(image: str | None, ports: dict[str, int]) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/health", "port": _HEALTH}, "timeoutSeconds": 5}
    return {
        "image": image,
        "ports": [
            {"name": name, "containerPort": number, "protocol": "TCP"}
            for name, number in ports.items()
        ],
        "startupProbe": {**probe, "failureThreshold": 30},
        "readinessProbe": probe,
        "livenessProbe": {**probe, "periodSeconds": 30, "failureThreshold": 4},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/home/timesen", "subPath": "home"},
            {"name": "scratch", "mountPath": "/tmp", "subPath": "tmp"},
        ],
    }
