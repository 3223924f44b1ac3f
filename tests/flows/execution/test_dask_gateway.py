"""A real Dask Gateway on this machine, whose clusters are processes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from pydantic import ValidationError

from flows.execution.dask_cluster import open_cluster, worker_count
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings
from tests.flows.conftest import REPOSITORY
from tests.services import ended, free_port

CONFIG = """
c.DaskGateway.address = "127.0.0.1:{inner}"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.Proxy.address = "127.0.0.1:{outer}"
c.UnsafeLocalBackend.clusters_directory = "{folder}/clusters"
c.UnsafeLocalBackend.inherited_environment = ["PATH", "PYTHONPATH", "HOME"]
c.ClusterConfig.scheduler_cmd = ["{python}", "-m", "distributed.cli.dask_scheduler"]
c.ClusterConfig.worker_cmd = ["{python}", "-m", "distributed.cli.dask_worker"]
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway."""
    pytest.importorskip("dask_gateway", reason="dask-gateway, the extra gateway, is not installed")
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    program = shutil.which("dask-gateway-server", path=places)
    if program is None:
        pytest.skip("dask-gateway-server is not installed: it is in the extra dev")
    folder = tmp_path_factory.mktemp("gateway")
    outer, inner = free_port(), free_port()
    config = folder / "config.py"
    config.write_text(CONFIG.format(outer=outer, inner=inner, folder=folder, python=sys.executable))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [program, "-f", str(config)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{outer}"
    until = time.monotonic() + 60
    try:
        while not answers(f"{address}/api/health"):
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        ended(server, 15)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def test_a_cluster_of_a_gateway(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ClusterSettings(kind="gateway", gateway=gateway, most_workers=2, dashboard=True)
    with open_cluster(settings) as client:
        assert worker_count(client) == 1
        assert client.submit(sum, [2, 3]).result(timeout=60) == 5
        info = client.scheduler_info(n_workers=-1)
        assert info["address"].startswith("tls://")
        link = capsys.readouterr().err.removeprefix("Dask's dashboard: ").strip()
        assert requests.get(link, timeout=30).ok
        # Adaptive: another worker comes while there is work for it.
        work = client.map(time.sleep, [0.5] * 60, pure=False)
        client.wait_for_workers(2, timeout=60)
        client.cancel(work)
    until = time.monotonic() + 60
    while answers(link):
        assert time.monotonic() < until, "the cluster is shut down"
        time.sleep(0.2)


def test_a_gateway_that_refuses(gateway: str) -> None:
    settings = ClusterSettings(kind="gateway", gateway=gateway, gateway_options={"cores": 99})
    with pytest.raises(ClusterUnavailable, match=r"gives no cluster .*cores"):
        open_cluster(settings).__enter__()


def test_no_gateway() -> None:
    pytest.importorskip("dask_gateway", reason="dask-gateway, the extra gateway, is not installed")
    settings = ClusterSettings(kind="gateway", gateway="http://127.0.0.1:9")
    with pytest.raises(ClusterUnavailable, match=r"127\.0\.0\.1:9 gives no cluster"):
        open_cluster(settings).__enter__()


@pytest.mark.parametrize("gateway", [None, "host", "https://me:word@host"])
def test_addresses_that_are_none(gateway: str | None) -> None:
    with pytest.raises(ValidationError) as refused:
        ClusterSettings(kind="gateway", gateway=gateway)
    assert "word" not in str(refused.value).replace("password", "")
