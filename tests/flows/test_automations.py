"""The recipe of infra/automations.py: a run that fails calls a webhook."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Failed, Running

from flows.map_region import map_region
from tests.flows.conftest import REPOSITORY, Shell, connected


@pytest.fixture
def webhook() -> Iterator[tuple[str, Queue[dict[str, Any]]]]:
    """The address of a server, and what is posted to it."""
    posted: Queue[dict[str, Any]] = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.put(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/failed", posted
    server.shutdown()
    server.server_close()


def test_a_run_that_fails_calls_a_webhook(
    users_server: str, shell: Shell, webhook: tuple[str, Queue[dict[str, Any]]]
) -> None:
    address, posted = webhook
    for _ in range(2):  # the second time it is brought up to date
        recipe = shell.start(
            *(sys.executable, f"{REPOSITORY}/infra/automations.py", "webhook", address),
            PREFECT_API_URL=users_server,
            DO_NOT_TRACK="1",
        )
        out, errors = recipe.communicate(timeout=240)
        assert recipe.returncode == 0, errors
        assert "automation timesen-failed-runs-webhook" in out
    with connected(users_server), get_client(sync_client=True) as client:
        (automation,) = client.read_automations_by_name("timesen-failed-runs-webhook")
        try:
            made = client.create_flow_run(
                map_region, parameters={"settings": {}}, name='2021 "ghent" → out', state=Running()
            )
            # The server loads a new automation within a moment; a message that comes before that
            # is not told of, so the run fails until it is.
            told = None
            for _ in range(12):
                client.set_flow_run_state(made.id, Failed(message="no items"), force=True)
                try:
                    told = posted.get(timeout=5)
                    break
                except Empty:
                    client.set_flow_run_state(made.id, Running(), force=True)
        finally:
            client.delete_automation(automation.id)
            client.delete_flow_run(made.id)
    assert told is not None, "the webhook was not called"
    assert told["flow"] == "map-region"
    assert told["run"] == '2021 "ghent" → out'
    assert (told["state"], told["message"]) == ("Failed", "no items")
    assert told["url"] is None, "the server of the tests has no user interface"
