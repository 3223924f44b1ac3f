"""Dask over TLS: real schedulers and workers with certificates, and clients with none or others."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as pem
from distributed import Client
from pydantic import ValidationError

from flows.execution.dask_cluster import open_cluster, worker_count
from flows.execution.work_queue import call, open_queue
from pipeline.clusters import address as address_cluster
from pipeline.clusters.kind import ClusterError, ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings
from tests.flows.conftest import Shell
from tests.scheduler_file import scheduler_address

Files = dict[str, str]


def certificates(folder: Path) -> Files:
    """An authority, and a certificate that it has signed."""
    folder.mkdir()
    authority = trustme.CA()
    signed = authority.issue_cert("127.0.0.1", "localhost")
    files = {name: str(folder / f"{name}.pem") for name in ("tls_ca", "tls_cert", "tls_key")}
    authority.cert_pem.write_to_path(files["tls_ca"])
    signed.cert_chain_pems[0].write_to_path(files["tls_cert"])
    signed.private_key_pem.write_to_path(files["tls_key"])
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificates(tmp_path_factory.mktemp("tls") / "others")


@pytest.fixture
def scheduler(shell: Shell, tmp_path: Path, files: Files) -> str:
    """The address of a scheduler with one worker, as a user starts them."""
    said = tmp_path / "scheduler.json"
    shell.start(
        *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--protocol", "tls"),
        *("--no-dashboard", "--host", "127.0.0.1", "--port", "0"),
        *("--scheduler-file", str(said), *tls_options(files)),
    )
    address = scheduler_address(said)
    start_worker(shell, address, files)
    return address


def start_worker(shell: Shell, address: str, files: Files) -> None:
    shell.start(
        *(sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny"),
        *("--nthreads", "1", "--no-dashboard", *tls_options(files)),
    )


def tls_options(files: Files) -> list[str]:
    options = ["--tls-ca-file", files["tls_ca"], "--tls-cert", files["tls_cert"]]
    return [*options, "--tls-key", files["tls_key"]]


def require_refused(kind: type[Exception], match: str, **settings: str) -> None:
    cluster = ClusterSettings(kind="address", **settings)
    with pytest.raises(kind, match=match), open_cluster(cluster):
        raise AssertionError("it was let in")


def test_only_who_has_a_certificate_of_the_authority_is_let_in(
    scheduler: str, files: Files, others: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scheduler.startswith("tls://127.0.0.1:")
    with open_cluster(ClusterSettings(kind="address", address=scheduler, **files)) as client:
        assert worker_count(client) == 1
        assert client.submit(sum, [2, 3]).result(timeout=60) == 5
    monkeypatch.setattr(address_cluster, "_CONNECT_SECONDS", 4)
    require_refused(ClusterError, "asks for certificates", address=scheduler)
    unencrypted = scheduler.replace("tls://", "tcp://")
    require_refused(ClusterUnavailable, "does not answer", address=unencrypted)
    require_refused(ClusterError, "not encrypted", address=unencrypted, **files)
    strangers = "or does not take this machine's certificate"
    require_refused(ClusterUnavailable, strangers, address=scheduler, **others)
    mixed = others | {"tls_ca": files["tls_ca"]}  # who trusts the scheduler, and is not trusted
    require_refused(ClusterUnavailable, strangers, address=scheduler, **mixed)


def test_processes_of_this_machine_over_tls(files: Files) -> None:
    settings = ClusterSettings(kind="local", workers=1, threads=1, memory_limit="1GB", **files)
    with open_cluster(settings) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        assert [address.split(":")[0] for address in workers] == ["tls"]
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        assert client.submit(sum, [2, 3]).result(timeout=60) == 5
        with pytest.raises((OSError, TypeError, RuntimeError, ValueError)):
            Client(
                client.scheduler.address.replace("tls://", "tcp://"),
                timeout=3,
                set_as_default=False,
            )


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"tls_ca": "absent.pem"}, "absent.pem: there is no such file"),
        ({"tls_ca": "text"}, "no certificate"),
        ({"tls_key": "text"}, "no certificate and its key"),
        ({"tls_key": "others"}, r"key values mismatch"),
        ({"tls_key": "secret"}, "without a passphrase"),
    ],
)
def test_files_that_are_none(
    files: Files, others: Files, tmp_path: Path, changed: Files, problem: str
) -> None:
    (tmp_path / "text").write_text("nothing of the kind")
    key = pem.load_pem_private_key(Path(files["tls_key"]).read_bytes(), None)
    hidden = pem.BestAvailableEncryption(b"word")
    form = (pem.Encoding.PEM, pem.PrivateFormat.PKCS8, hidden)
    (tmp_path / "secret").write_bytes(key.private_bytes(*form))
    named = {
        name: others[name] if file == "others" else str(tmp_path / file)
        for name, file in changed.items()
    }
    settings = ClusterSettings(kind="local", **files | named)
    with pytest.raises(ClusterError, match=problem), open_cluster(settings):
        raise AssertionError


@pytest.mark.parametrize("given", [["tls_ca"], ["tls_cert", "tls_key"]])
def test_they_belong_together(files: Files, given: list[str]) -> None:
    with pytest.raises(ValidationError, match="give all three"):
        ClusterSettings(**{name: files[name] for name in given})


def test_a_worker_that_is_killed_over_tls(scheduler: str, files: Files, shell: Shell) -> None:
    """What it had begun and held is done by the other."""
    start_worker(shell, scheduler, files)
    settings = ClusterSettings(kind="address", address=scheduler, **files)
    with open_queue(settings) as queue:
        queue.client.wait_for_workers(2, timeout=60)
        first, second = queue.client.run(os.getpid).values()
        done: list[str] = []

        def finished(name: str, _: None) -> None:
            done.append(name)
            if len(done) == 2:
                os.kill(first, signal.SIGKILL)

        units = {str(number): call(time.sleep, 0.1) for number in range(8)}
        assert queue.map(units, finished, lambda _, error: pytest.fail(str(error))) == []
        assert sorted(done) == [*units]
        assert [*queue.client.run(os.getpid).values()] == [second]
