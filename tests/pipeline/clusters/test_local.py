"""Worker processes of this machine, started and ended for real."""

from pipeline.clusters.local import ProcessesCluster
from pipeline.clusters.settings import ClusterSettings


def test_a_worker_that_ends_too_late_ends_no_run() -> None:
    settings = ClusterSettings(kind="local", workers=1, threads=1)
    with ProcessesCluster().open(settings) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        (nanny,) = client.cluster.workers.values()
        client.cluster.sync(nanny.kill, timeout=0)  # as if the machine took all the time
