"""Two servers share a store of events; one is killed under load: nothing that was acknowledged is lost."""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest

from recsys_assets_tests.api.conftest import eventually
from recsys_assets_tests.api.publishing import Content, publish
from recsys_assets_tests.api.test_server import Server, running

pytestmark = pytest.mark.faults

USERS = range(8)
CONTENT = Content({user: [2, 3] for user in USERS}, {2: [3]}, {"all": [2, 3]})


def post(connection: http.client.HTTPConnection, user: int, event_id: str) -> int:
    event = {"event_id": event_id, "user_id": user, "item_id": 2, "event_type": "view"}
    connection.request("POST", "/events", json.dumps(event), {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def test_two_servers_one_killed_under_load_lose_nothing(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    publish(uri, "2015-08-01", CONTENT)
    settings = {"RECSYS_API_OPEN_WRITES": "true", "RECSYS_LANDING_URI": (tmp_path / "landing").as_uri()}
    acknowledged: dict[int, list[str]] = {user: [] for user in USERS}
    refused: list[int] = []
    killed = threading.Event()

    def load(server: Server, user: int, calls: int) -> None:
        connection = server.connect()
        for _ in range(calls):
            event_id = str(uuid.uuid4())
            try:
                status = post(connection, user, event_id)
            except (OSError, http.client.HTTPException):
                assert killed.is_set(), "only the server that was killed does not answer"
                return
            if status == 200:
                acknowledged[user].append(event_id)
            else:
                refused.append(status)

    with ExitStack() as stack:
        servers: list[Server] = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            servers.append(stack.enter_context(running(tmp_path / name, uri, **settings)))
        for server in servers:
            eventually(lambda server=server: server.get("/health/ready")[0] == 200)
        threads = [
            threading.Thread(target=load, args=(servers[user % 2], user, 80 if user % 2 else 1_000_000))
            for user in USERS
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: all(len(acknowledged[user]) > 20 for user in USERS))
        killed.set()
        servers[0].process.kill()
        for thread in threads:
            thread.join()
        assert refused == []
        assert all(len(acknowledged[user]) == 80 for user in USERS if user % 2), "the other one goes on"
        for user in USERS:
            _, body = servers[1].get(f"/events/{user}?limit=1000")
            stored = [event["event_id"] for event in body["events"]]
            newest = set(acknowledged[user][-900:])
            assert newest <= set(stored)
            assert len(stored) == len(set(stored))
