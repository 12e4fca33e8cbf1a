"""Two servers share changes of items: both serve with them, also when the one that took them is killed."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from recsys_assets_tests.api.conftest import eventually
from recsys_assets_tests.api.publishing import publish
from recsys_assets_tests.api.test_answers import CONTENT, DAY, FACTS
from recsys_assets_tests.api.test_server import Server, running


def put(server: Server, item: int, **fields: Any) -> int:
    connection = server.connect()
    connection.request("PUT", f"/items/{item}", json.dumps(fields), {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def price(server: Server, item: int) -> float:
    return server.get(f"/items/{item}")[1]["price"]


def popular(server: Server) -> list[int]:
    return [item["item_id"] for item in server.get("/popular?k=5")[1]["items"]]


def test_a_change_in_one_worker_reaches_the_other_and_outlives_the_one(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    publish(uri, DAY, CONTENT, **FACTS)
    settings = {"RECSYS_API_OPEN_WRITES": "true", "RECSYS_LANDING_URI": (tmp_path / "landing").as_uri()}
    with ExitStack() as stack:
        servers: list[Server] = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            servers.append(stack.enter_context(running(tmp_path / name, uri, **settings)))
        one, two = servers
        for server in servers:
            eventually(lambda server=server: server.get("/health/ready")[0] == 200)
        assert popular(two)[:2] == [30, 31]
        assert put(one, 30, available=False) == 200
        assert popular(one)[0] == 31
        eventually(lambda: popular(two)[0] == 31)
        for turn in range(6):  # the two take turns with one field: the last one counts, in both
            assert put(servers[turn % 2], 40, price=turn) == 200
            assert price(servers[turn % 2], 40) == turn
        eventually(lambda: price(one, 40) == price(two, 40) == 5)
        last = 0
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            last += 1
            assert put(one, 41, price=last) == 200
        one.process.kill()
        eventually(lambda: price(two, 41) == last)
        assert popular(two)[0] == 31
