"""The services of compose.yaml as processes of this machine, with TLS: a map by their deployment.

Their commands, variables and health checks are the file's; hosts, ports and folders are replaced.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import psycopg
import pytest
from moto.server import ThreadedMotoServer
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

from pipeline.sample.archive import SampleArchive
from tests.flows.conftest import Shell, connected
from tests.flows.execution.test_dask_tls import certificates
from tests.infra.files import INFRA, Document, services
from tests.pgstac import Cluster

BIN = Path(sys.executable).parent
PORTS = ("4200", "5432", "7070", "8080", "8786", "8787", "8788")
SECONDS = 240  # a busy machine takes minutes to start processes


@dataclass(frozen=True)
class Stack:
    """The services, as they are started here.

    Attributes:
        shell: Where their processes are started.
        folder: For their files.
        ports: Free ports, by those of the file.
        values: What .env says.
    """

    shell: Shell
    folder: Path
    ports: dict[str, str]
    values: dict[str, str]

    def here(self, text: object) -> str:
        """A word of the file with this machine's hosts, ports and folders."""
        said = re.sub(r"\$\{(\w+)[^}]*\}", lambda name: self.values[name[1]], str(text))
        said = re.sub(r"(?<=://)[\w-]+(?=:\d)|^0\.0\.0\.0$|^database$", "127.0.0.1", said)
        said = re.sub(r"(^|=)(?=:\d{4}$)", r"\g<1>127.0.0.1", said)
        said = re.sub(rf"\b({'|'.join(PORTS)})\b", lambda port: self.ports[port[1]], said)
        for place, folder in {
            "/run/tls/ca.pem": self.folder / "tls" / "tls_ca.pem",
            "/run/tls/cert.pem": self.folder / "tls" / "tls_cert.pem",
            "/run/tls/key.pem": self.folder / "tls" / "tls_key.pem",
            "/etc/timesen/prefect.yaml": INFRA / "kubernetes" / "base" / "prefect.yaml",
            "/tmp/prefect-ui": self.folder / "ui",
        }.items():
            said = said.replace(place, str(folder))
        return said

    def variables(self, name: str) -> dict[str, str]:
        """The environment of a service."""
        files = ("compose.yaml", "compose.tls.yaml")
        own: Document = {}
        for file in files:
            own |= services(file).get(name, {}).get("environment", {})
        return {key: self.here(value) for key, value in own.items()}

    def start(self, name: str) -> "subprocess.Popen[str]":
        """Start a service."""
        service = services()[name]
        words = [*service["entrypoint"], *service.get("command", [])]
        return self.shell.start(
            *(self.here(word) for word in words),
            **{
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
                "PREFECT_WORKER_WEBSERVER_PORT": self.ports["8080"],
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
            },
            **self.variables(name),
        )

    def complete(self, name: str) -> None:
        """Run a service that does something once."""
        process = self.start(name)
        out, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, out + errors

    def healthy(self, name: str) -> "subprocess.Popen[str]":
        """Start a service, and wait until its own check finds it healthy."""
        process = self.start(name)
        kind, program, *words = services()[name]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        until = time.monotonic() + SECONDS
        while True:
            check = [sys.executable, *(self.here(word) for word in words)]
            if subprocess.run(check, capture_output=True, check=False).returncode == 0:
                return process
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, f"{name} is not healthy"
            time.sleep(1)


@pytest.fixture
def stack(shell: Shell, tmp_path: Path, sample_archive: SampleArchive) -> Iterator[Stack]:
    """All services but the flows' worker, which have started as the file says."""
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
    values = {
        "POSTGRES_PASSWORD": "p:s@s/w?rd", "PREFECT_AUTH": "user:a secret",
        "STORE_ACCESS_KEY": "key", "STORE_SECRET_KEY": "secret",
        "TIMESEN_REGION": sample_archive.region, "TIMESEN_VOCABULARY": "sample-landscape",
        "TIMESEN_CATALOG": str(sample_archive.folder), "TIMESEN_BUCKET": "stack",
        "DASK_WORKER_THREADS": "2", "DASK_WORKER_MEMORY": "3g",
    }  # fmt: skip
    certificates(tmp_path / "tls")
    opened = Stack(shell, tmp_path, ports, values)
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=int(ports["7070"]), verbose=False)
    store.start()
    with tempfile.TemporaryDirectory(prefix="prefect-", ignore_cleanup_errors=True) as folder:
        database = Cluster(Path(folder), int(ports["5432"]))
        database.start()
        try:
            with psycopg.connect(database.dsn, autocommit=True) as connection:
                connection.execute("CREATE USER prefect")
                connection.execute("CREATE DATABASE prefect OWNER prefect")
            opened.complete("bucket")
            opened.healthy("prefect-server")
            opened.complete("deployments")
            opened.healthy("dask-scheduler")
            opened.healthy("dask-worker")
            yield opened
        finally:
            for process in shell.processes():
                process.kill()
            database.stop()
            store.stop()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_map_by_the_deployment(
    stack: Stack, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = f"http://127.0.0.1:{stack.ports['4200']}/api"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{api}/deployments/name/map-region/yearly", timeout=20)
    login = temporary_settings({PREFECT_API_AUTH_STRING: stack.values["PREFECT_AUTH"]})
    with login, connected(api), get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("map-region/yearly")
        settings = deployment.parameters["settings"]
        assert settings["cluster"]["address"] == f"tls://127.0.0.1:{stack.ports['8786']}"
        flow_run = client.create_flow_run_from_deployment(
            deployment.id,
            # The archive and the checkpoint of the tests, in place of last year's land.
            parameters={
                "settings": settings
                | {"year": 2021, "checkpoint": str(tiny_checkpoint), "cell_size": 64}
            },
        )
        worker = stack.healthy("prefect-worker")
        until = time.monotonic() + 600
        while not ((state := client.read_flow_run(flow_run.id).state) and state.is_final()):
            assert worker.poll() is None, worker.communicate()
            assert time.monotonic() < until, "the flow has not ended"
            time.sleep(1)
    if not state.is_completed():
        worker.terminate()
        pytest.fail(f"{state}: {worker.communicate()}")
    for name, value in stack.variables("dask-worker").items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    files = fsspec.filesystem("s3").find("stack/2021")
    assert "stack/2021/report.html" in files
    assert [name for name in files if name.endswith("/class.tif")]


def _free_ports(count: int) -> list[str]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found
