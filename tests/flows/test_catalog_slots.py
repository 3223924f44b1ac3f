"""A catalogue's slots: a limit on the Prefect server holds runs back, and no limit holds none."""

import threading
import time
from collections.abc import Callable

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

from flows.execution.catalog_slots import catalog_limit, catalog_slot
from flows.execution.prefect_api import flow
from tests.flows.conftest import connected


@pytest.mark.parametrize(
    ("url", "limit"),
    [
        ("https://earth-search.aws.element84.com/v1", "timesen-catalog-earth-search"),
        ("https://stac.example.org:8080/api", "timesen-catalog-stac.example.org"),
        ("/data/archive", None),
    ],
)
def test_a_limit_has_the_name_of_its_catalogue(url: str, limit: str | None) -> None:
    assert catalog_limit(url) == limit


def test_a_run_waits_for_a_slot(users_server: str) -> None:
    url = "https://slots.example.org/v1"
    entered: list[str] = []

    @flow(persist_result=False)
    def reads(name: str, seconds: float) -> None:
        with catalog_slot(url):
            entered.append(name)
            time.sleep(seconds)

    def start(name: str, seconds: float) -> threading.Thread:
        def work() -> None:
            with connected(users_server):
                reads(name, seconds)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def until(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not condition() and time.monotonic() < end:
            time.sleep(0.05)
        assert condition()

    with connected(users_server), get_client(sync_client=True) as client:
        reads("no limit", 0)
        assert entered == ["no limit"]
        name = "timesen-catalog-slots.example.org"
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        taken = lambda: client.read_global_concurrency_limit_by_name(name).active_slots  # noqa: E731
        first = start("first", 8)
        until(lambda: "first" in entered)
        assert taken() == 1
        second = start("second", 0)
        time.sleep(4)
        assert "second" not in entered or not first.is_alive()
        for thread in (first, second):
            thread.join(timeout=120)
        assert entered == ["no limit", "first", "second"]
        assert taken() == 0
        client.delete_global_concurrency_limit_by_name(name)
