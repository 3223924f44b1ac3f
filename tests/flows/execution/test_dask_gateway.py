"""Clusters of a real Dask Gateway on this machine."""

import time

import pytest
import requests
from pydantic import ValidationError

from flows.execution.dask_cluster import open_cluster, worker_count
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings
from tests.flows.dask_gateway_server import answers, gateway

__all__ = ["gateway"]


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
