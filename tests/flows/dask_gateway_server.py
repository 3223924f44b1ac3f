"""A real Dask Gateway on this machine, for tests; its clusters are processes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

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
