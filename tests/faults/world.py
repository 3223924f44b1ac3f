"""What all faults share: the archive, a training set, servers, a zygote, undisturbed products."""

import itertools
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from pipeline.sample.archive import write_archive
from tests.faults.archive_server import archive_server
from tests.faults.commands import MARK, Command, Wanted, Zygote
from tests.faults.jobs import Job
from tests.faults.places import Folder, Place, Prefix
from tests.faults.product import Product, read_product
from tests.faults.s3_proxy import S3Proxy, s3_proxy
from tests.faulty_server import FaultyServer
from tests.s3_server import BUCKET
from tests.training_sets import made_set

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 300.0
"""A command that takes longer hangs; undisturbed, none takes a tenth of it."""

_AWS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}


@dataclass(frozen=True)
class Slot:
    """Servers for one fault at a time: the archive's, and a proxy of the S3 server."""

    archive: FaultyServer
    s3: S3Proxy


@dataclass(frozen=True)
class Room:
    """The private folders of one fault: a home, temporary files, shared memory, products.

    Attributes:
        folder: What holds them.
        mark: The value of MARK in the environment of its processes.
        slot: The servers that this fault alone uses.
    """

    folder: Path
    mark: str
    slot: Slot
    counter: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        for name in ("home", "tmp", "shm", "place"):
            (self.folder / name).mkdir(parents=True)

    @property
    def out(self) -> Path:
        """The folder of the product, which may be a file system of its own."""
        return self.folder / "place" / "run"


class World:
    """What all faults share. Make it with `open_world`."""

    def __init__(self, folder: Path, stack: ExitStack, slots: int) -> None:
        self.folder = folder
        self.archive = folder / "archive"
        self.training_set = folder / "set"
        self.cache = folder / "cache"
        self.is_root = os.geteuid() == 0
        (folder / "home").mkdir()
        (folder / "rooms").mkdir()
        stack.callback(self._remove)
        self.zygote = Zygote(self._environment(folder / "home", folder, ""), folder)
        stack.callback(self.zygote.close)
        write_archive(self.archive, seed=7, size=1300.0, per_month=1)
        made_set(str(self.training_set))
        s3 = _s3_server(stack)
        self._client: Any = boto3.client(
            "s3", endpoint_url=f"http://{s3[0]}:{s3[1]}", region_name="us-east-1",
            aws_access_key_id="key", aws_secret_access_key="secret",
        )  # fmt: skip
        self._client.create_bucket(Bucket=BUCKET)
        self.prefect = self._prefect_server(stack)
        self._free = [
            Slot(
                stack.enter_context(archive_server(self.archive)), stack.enter_context(s3_proxy(s3))
            )
            for _ in range(slots)
        ]
        self._products: dict[Job, Product] = {}
        self._locks: dict[Job, threading.Lock] = {}
        self._lock = threading.Lock()

    @contextmanager
    def room(self) -> Iterator[Room]:
        """Private folders for one fault; a slot must be free."""
        with self._lock:
            slot = self._free.pop()
        name = secrets.token_hex(6)
        room = Room(self.folder / "rooms" / name, name, slot)
        try:
            yield room
        finally:
            shutil.rmtree(room.folder, ignore_errors=True)
            with self._lock:
                self._free.append(slot)

    def place(self, room: Room, job: Job) -> Place:
        """Where a room's product lies."""
        if job.remote:
            return Prefix(BUCKET, f"{room.mark}/run", self._client)
        return Folder(str(room.out))

    def start(
        self,
        room: Room,
        module: str,
        arguments: list[str],
        environment: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Command:
        """Start a command in a room; `more` are attributes of Wanted."""
        number = next(room.counter)
        return self.zygote.start(
            Wanted(
                module,
                arguments,
                self._environment(room.folder / "home", room.folder / "tmp", room.mark)
                | {"AWS_ENDPOINT_URL": room.slot.s3.address}
                | {"PREFECT_API_URL": self.prefect}
                | dict(environment or {}),
                str(room.folder / "home"),
                str(room.folder / f"{number}.out"),
                str(room.folder / f"{number}.err"),
                shared_memory=str(room.folder / "shm") if self.is_root else "",
                **more,
            )
        )

    def undisturbed(self, job: Job, room: Room) -> Product:
        """The product of a job that nothing disturbs; it is made once."""
        wanted = job.undisturbed
        with self._lock:
            lock = self._locks.setdefault(wanted, threading.Lock())
        with lock:
            if wanted not in self._products:
                self._products[wanted] = self._make(wanted, room.slot)
        return self._products[wanted]

    def kept_embeddings(self, room: Room) -> str:
        """The folder of a map that kept its embeddings, for classifications."""
        out = self.folder / "embedded" / "run"
        with self._lock:
            lock = self._locks.setdefault(Job("map", "kept embeddings"), threading.Lock())
        with lock:
            if not (out / "report.html").exists():
                job = Job("map", str(self.archive), keep_embeddings=True)
                inner = Room(self.folder / "embedded-room", secrets.token_hex(6), room.slot)
                self._run(inner, job, str(out))
        return str(out)

    def _make(self, job: Job, slot: Slot) -> Product:
        mark = secrets.token_hex(6)
        room = Room(self.folder / "undisturbed" / mark, mark, slot)
        place = self.place(room, job)
        self._run(room, job, place.out)
        return read_product(place)

    def _run(self, room: Room, job: Job, out: str) -> None:
        command = self.start(room, "flows.cli", job.arguments(out))
        code = command.wait(2 * RUN_SECONDS)
        if code != 0:
            raise RuntimeError(f"undisturbed, {job} ended with {code}: {command.said}")

    def _environment(self, home: Path, temporary: Path, mark: str) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "XDG_CACHE_HOME": str(self.cache),
            "MPLCONFIGDIR": str(self.folder / "matplotlib"),
            "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", ""),
            "OMP_NUM_THREADS": "1",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            MARK: mark,
            **_AWS,
        }

    def _prefect_server(self, stack: ExitStack) -> str:
        """Start a Prefect server that all commands use which do not start one themselves."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = str(probe.getsockname()[1])
        environment = self._environment(self.folder / "home", self.folder, "")
        server = self.zygote.start(
            Wanted(
                "prefect",
                ["server", "start", "--port", port, "--no-ui"],
                environment | {"PREFECT_HOME": str(self.folder / "prefect")},
                str(self.folder),
                str(self.folder / "prefect.log"),
                str(self.folder / "prefect.log"),
                fresh=True,
            )
        )
        stack.callback(lambda: (server.send(15) and server.ended.wait(20)) or server.send(9))
        url = f"http://127.0.0.1:{port}/api"
        until = time.monotonic() + RUN_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5):
                    return url
            except OSError:
                if server.ended.is_set() or time.monotonic() > until:
                    raise RuntimeError(f"no Prefect server: {server.said}") from None
                time.sleep(0.2)

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _s3_server(stack: ExitStack) -> tuple[str, int]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    stack.callback(server.stop)
    return server.get_host_and_port()


@contextmanager
def open_world(slots: int = 1) -> Iterator[World]:
    """Open a world for so many faults at a time; its processes and files go with the block."""
    with ExitStack() as stack:
        yield World(Path(tempfile.mkdtemp(prefix="timesen-faults-")), stack, slots)


if sys.platform != "linux":
    raise RuntimeError("faults are tried on Linux only: they need /proc, signals and cgroups")
