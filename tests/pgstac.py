"""A real STAC API for tests: PostgreSQL with PostGIS, pgstac, stac-fastapi-pgstac."""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods
from pypgstac.migrate import Migrate
from stac_fastapi.pgstac.app import instantiate_api
from stac_fastapi.pgstac.config import PostgresSettings, Settings
from stac_fastapi.pgstac.db import close_db_connection, connect_to_db
from stac_fastapi.pgstac.models.extensions import Extensions
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.catalog_servers import collection
from tests.services import absent, ended, program

_BINARIES = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
_FAST = {  # it need not survive the machine
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "jit": "off",
    "max_connections": "40", "listen_addresses": "",
}  # fmt: skip
_USER = "pgstac"


class Cluster:
    """A PostgreSQL cluster in a folder of its own, reached by a socket in it.

    It runs as this user, or where that is root, which PostgreSQL refuses, as another. Where a port
    is given, it is reached there, too, on loopback.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder, self.port = folder, port
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            other = _unprivileged()
            os.chown(folder, other.pw_uid, other.pw_gid)
            self._as |= {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
        initdb = [program("initdb", *_BINARIES), "-D", "data", "-U", _USER, "--auth=trust"]
        initdb += ["--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **self._as)

    @property
    def dsn(self) -> str:
        return f"host={self.folder} port={self.port or 5432} user={_USER} dbname=postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [program("postgres", *_BINARIES), "-D", "data", "-k", str(self.folder)]
        network = {"port": str(self.port), "listen_addresses": "127.0.0.1"} if self.port else {}
        for name, value in (_FAST | network).items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as)
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.dsn).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Close all connections and stop."""
        if self._process is not None:
            ended(self._process, signal.SIGINT)
            self._process = None


@dataclass
class Door:
    """ASGI middleware of the API, which counts the searches and can refuse them, and writes.

    Attributes:
        app: The API.
        busy: The number of next searches that are refused with status 429.
        retry_after: Seconds in the `Retry-After` header of these.
        before: Called before each search with its number, from 1 on.
        arrived: For each search, when it came.
        at_once: The number of searches that are being answered.
        most_at_once: The highest such number.
        token: What a write must bring in its header Authorization, if anything.
        busy_writes: The number of next writes that are refused with status 429.
        absent: The ends of paths that the API is without.
        writes: Method and path of each write.
    """

    app: ASGIApp
    busy: int = 0
    retry_after: int = 1
    before: Callable[[int], None] | None = None
    arrived: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    token: str | None = None
    busy_writes: int = 0
    absent: tuple[str, ...] = ()
    writes: list[tuple[str, str]] = field(default_factory=list)

    def forget(self) -> None:
        """Forget all searches and writes."""
        self.token, self.busy_writes, self.absent, self.writes = None, 0, (), []
        self.busy, self.before, self.arrived, self.most_at_once = 0, None, [], 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/search":
            refused = self._refusal(scope) if scope["type"] == "http" else None
            await (refused or self.app)(scope, receive, send)
            return
        self.arrived.append(time.monotonic())
        if self.before is not None:
            self.before(len(self.arrived))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.busy > 0:
                self.busy -= 1
                headers = {"Retry-After": str(self.retry_after)}
                await Response("slower", 429, headers)(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        finally:
            self.at_once -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is refused; writes are noted."""
        if scope["path"].endswith(self.absent or ("no path",)):
            return Response("no such path", 404)
        if scope["method"] == "GET":
            return None
        self.writes.append((scope["method"], scope["path"]))
        given = dict(scope["headers"]).get(b"authorization", b"").decode()
        if self.token is not None and given != self.token:
            return Response(f'{{"detail": "not allowed with {given}"}}', 401)
        if self.busy_writes > 0:
            self.busy_writes -= 1
            return Response("slower", 429, {"Retry-After": str(self.retry_after)})
        return None


@dataclass(frozen=True)
class PgStac:
    """A running STAC API: the URL of its landing page, its database and its middleware."""

    address: str
    cluster: Cluster
    door: Door

    def load(
        self, name: str, items: list[dict[str, Any]], document: dict[str, Any] | None = None
    ) -> None:
        """Put items into the collection `name`; `document` describes it."""
        with PgstacDB(dsn=self.cluster.dsn) as database:
            loader = Loader(db=database)
            described = {**(document or collection()), "id": name}
            loader.load_collections(iter([described]), insert_mode=Methods.upsert)
            loader.load_items(({**item, "collection": name} for item in items), Methods.insert)


@pytest.fixture(scope="session")
def pgstac() -> Iterator[PgStac]:
    """A STAC API without collections; skip the test if PostgreSQL or PostGIS is missing."""
    with pgstac_server() as server:
        yield server


@contextmanager
def pgstac_server() -> Iterator[PgStac]:
    """Run a STAC API without collections, with its own database, on a free port."""
    with tempfile.TemporaryDirectory(prefix="pgstac-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder))
        cluster.start()
        try:
            _migrate(cluster)
            door = Door(_api(cluster))
            with _served(door) as address:
                yield PgStac(address, cluster, door)
        finally:
            cluster.stop()


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return absent("a user postgres, or nobody,")


def _migrate(cluster: Cluster) -> None:
    with psycopg.connect(cluster.dsn) as connection:
        asked = "SELECT 1 FROM pg_available_extensions WHERE name = 'postgis'"
        if connection.execute(asked).fetchone() is None:
            absent("PostGIS")
        # Its functions are found without naming their schema, as pgstac's roles would.
        connection.execute(f"ALTER ROLE {_USER} SET search_path TO pgstac, public")
    with PgstacDB(dsn=cluster.dsn) as database:
        Migrate(database).run_migration()


def _api(cluster: Cluster) -> FastAPI:
    settings = PostgresSettings(
        pguser=_USER,
        pgpassword="none",
        pghost=str(cluster.folder).replace("/", "%2F"),
        pgport=5432,
        pgdatabase="postgres",
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        await connect_to_db(app, postgres_settings=settings, add_write_connection_pool=True)
        yield
        await close_db_connection(app)

    writable = Settings(enable_transactions_extensions=True)
    extensions = Extensions(settings=writable)
    return instantiate_api(extensions=extensions, lifespan=lifespan, settings=writable).app


@contextmanager
def _served(app: ASGIApp) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the STAC API did not start")
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
