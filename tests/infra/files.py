"""What infra/ says: the services of Compose, the pods of Kubernetes, and the commands of both."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
KUBERNETES = INFRA / "kubernetes"
Document = dict[str, Any]


def services(*names: str) -> dict[str, Document]:
    """The services of Compose files: compose.yaml, if none is named."""
    found = {}
    for name in names or ("compose.yaml",):
        found |= yaml.safe_load((INFRA / name).read_text(encoding="utf-8"))["services"]
    return found


def manifests() -> list[Document]:
    """All objects of Kubernetes, of the base and of the workers with GPUs, as they are written."""
    return [
        document
        for folder in ("base", "gpu")
        for path in sorted((KUBERNETES / folder).glob("*.yaml"))
        if path.name not in ("kustomization.yaml", "prefect.yaml")
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def pods() -> dict[str, Document]:
    """The pods' specifications, by the name of what makes them."""
    return {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]
        for document in manifests()
        if document["kind"] in ("Deployment", "StatefulSet")
    }


def containers(pod: Document) -> list[Document]:
    """The containers of a pod, those that run first included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def commands() -> Iterator[list[str]]:
    """Each command of Compose and of Kubernetes, also those that a shell joins by `&&`."""
    defaults = re.compile(r"\$\{\w+:-([^}]*)\}")
    given = [
        [*service.get("entrypoint", []), *service.get("command", [])]
        for service in services().values()
    ] + [
        [*container.get("command", []), *container.get("args", [])]
        for pod in pods().values()
        for container in containers(pod)
    ]
    for words in filter(None, given):
        words = [defaults.sub(r"\1", word) for word in words]
        if words[:2] == ["sh", "-c"]:
            yield from (part.split() for part in words[2].split("&&"))
        else:
            yield words


def environments() -> Iterator[tuple[str, str]]:
    """The names of environment variables that are set, and the values that are written there."""
    for service in services("compose.yaml", "compose.tls.yaml").values():
        yield from ((name, str(value)) for name, value in service.get("environment", {}).items())
    for pod in pods().values():
        for container in containers(pod):
            yield from ((one["name"], one.get("value", "")) for one in container.get("env", []))
    for path in KUBERNETES.glob("*/kustomization.yaml"):
        made = yaml.safe_load(path.read_text(encoding="utf-8")).get("configMapGenerator", [])
        for literal in (word for one in made for word in one.get("literals", [])):
            name, _, value = literal.partition("=")
            yield name, value
    for line in re.findall(r"^(?:ENV |    )(\w+=\S*)", (INFRA / "Dockerfile").read_text(), re.M):
        name, _, value = line.partition("=")
        yield name, value
