"""The server as it is run: a process of its own, asked over a socket."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets_tests.api.conftest import eventually
from recsys_assets_tests.api.publishing import Content, publish, releases_at
from recsys_assets_tests.processes import end

DAYS = [f"2015-08-{day:02}" for day in range(1, 6)]
ODD_IDS = ["a/b", "/", "//", "ünï→", "50%", "%2F", "a b?c#d&e", "..", ".", "line\nbreak", "0", "'", '"', "\x00", "?k=0"]
TEXT = st.one_of(st.sampled_from(ODD_IDS), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))


class Server:
    """A running server: its process, port and log."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log
        eventually(lambda: "Uvicorn running" in self.log or process.poll() is not None)
        started = re.search(r"http://127\.0\.0\.1:(\d+)", self.log)
        assert started, self.log
        self.port = int(started[1])

    @property
    def log(self) -> str:
        return self._log.read_text()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def get(self, url: str, connection: http.client.HTTPConnection | None = None) -> tuple[int, Any]:
        """Status and body; the URL goes out as it is."""
        connection = connection or self.connect()
        connection.request("GET", url)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def serves(self, release_id: str) -> bool:
        return self.get("/health/ready")[1]["release_id"] == release_id


@contextmanager
def running(folder: Path, storage_uri: str, *options: str, **env: str) -> Generator[Server]:
    log = folder / "server.log"
    command = [sys.executable, "-m", "recsys_api", "--port", "0", *options]
    settings = {
        "RECSYS_STORAGE_URI": storage_uri,
        "RECSYS_API_POLL_SECONDS": "0.1",
        "RECSYS_API_CACHE_DIR": str(folder / "cache"),
    }
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, text=True, env={**os.environ, **settings, **env})
    try:
        yield Server(process, log)
    finally:
        end(process, 30)


def numbered(number: int) -> Content:
    """Content in which every item says which release it is of."""
    mine = [number * 1000 + n for n in range(20)]
    return Content({0: mine[:3], 1: mine[3:15]}, {0: mine[15:17]}, {"all": mine})


def test_follows_the_pointer_under_load_without_a_failed_or_mixed_answer(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    with running(tmp_path, uri) as server:
        assert server.get("/recommendations/0")[0] == 503
        release_of = {publish(uri, DAYS[0], numbered(0)): 0}
        eventually(lambda: server.get("/health/ready")[0] == 200)
        stop, answers, failures = threading.Event(), [], []
        urls = ("/recommendations/0?k=5", "/recommendations/1", "/recommendations/77", "/similar/0", "/popular?k=3")

        def hammer() -> None:
            connection = server.connect()
            for url in itertools.cycle(urls):
                if stop.is_set():
                    return
                try:
                    status, body = server.get(url, connection)
                except Exception as error:
                    failures.append((url, repr(error)))
                    return
                answers.append((status, body)) if status == 200 else failures.append((url, status, body))

        threads = [threading.Thread(target=hammer) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number, day in enumerate(DAYS[1:], 1):
            release_id = publish(uri, day, numbered(number))
            release_of[release_id] = number
            eventually(lambda release_id=release_id: server.serves(release_id))
        back_to = list(release_of)[-2]
        releases_at(uri).rollback(back_to)
        eventually(lambda: server.serves(back_to))
        stop.set()
        for thread in threads:
            thread.join()

        assert not failures
        assert {body["release_id"] for _, body in answers} == set(release_of)
        for _, body in answers:
            number = release_of[body["release_id"]]
            assert body["as_of"] == DAYS[number]
            assert body["items"]
            assert {item["item_id"] // 1000 for item in body["items"]} == {number}

        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) in (0, -signal.SIGTERM)
        assert "Application shutdown complete" in server.log
        assert "Traceback" not in server.log
        assert server.log.count("serving release") == len(DAYS) + 1


@pytest.fixture(scope="module")
def strings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("strings")
    content = Content(
        {user: [f"for {user}"] for user in ODD_IDS},
        {item: [f"like {item}"] for item in ODD_IDS},
        {"all": ["p1", "p2"], **{f"category:{odd}": [f"in {odd}"] for odd in ODD_IDS}},
        ids={"user": "string", "item": "string"},
    )
    publish((folder / "store").as_uri(), DAYS[0], content)
    with running(folder, (folder / "store").as_uri()) as server:
        eventually(lambda: server.get("/health/ready")[0] == 200)
        yield server


@pytest.fixture(scope="module")
def get(strings: Server) -> Callable[[str], tuple[int, Any]]:
    connection = strings.connect()
    return lambda url: strings.get(url, connection)


@settings(max_examples=150, deadline=None)
@given(text=TEXT, k=st.integers(1, 100))
def test_any_text_is_a_string_id(get: Callable[[str], tuple[int, Any]], text: str, k: int) -> None:
    escaped = quote(text, safe="")
    status, recommended = get(f"/recommendations/{escaped}?k={k}")
    own = [f"for {text}"] if text in ODD_IDS else []
    assert (status, recommended["user_id"], recommended["personalised"]) == (200, text, bool(own))
    assert [item["item_id"] for item in recommended["items"]] == [*own, "p1", "p2"][:k]
    status, similar = get(f"/similar/{escaped}?k={k}")
    assert (status, similar["item_id"]) == (200, text)
    assert [item["item_id"] for item in similar["items"]] == ([f"like {text}"] if text in ODD_IDS else [])
    status, popular = get(f"/popular?category={escaped}&k={k}")
    assert (status, popular["category"]) == (200, text)
    assert [item["item_id"] for item in popular["items"]] == ([f"in {text}"] if text in ODD_IDS else [])


@settings(max_examples=100, deadline=None)
@given(raw=st.binary(min_size=1, max_size=12))
def test_any_bytes_in_a_path_are_answered(get: Callable[[str], tuple[int, Any]], raw: bytes) -> None:
    status, body = get("/recommendations/" + "".join(f"%{byte:02X}" for byte in raw))
    assert status == 200
    assert body["user_id"] == raw.decode(errors="replace")


def test_stops_at_once_while_idle_connections_are_open(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    publish(uri, DAYS[0], numbered(0))
    with running(tmp_path, uri) as server:
        idle = server.connect()
        assert server.get("/health/live", idle)[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) in (0, -signal.SIGTERM)


def test_a_bad_setting_stops_the_start_and_names_its_variable() -> None:
    code = "from recsys_api.app import create_app; create_app()"
    env = {**os.environ, "RECSYS_API_POLL_SECONDS": "often"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert run.returncode != 0
    assert "RECSYS_API_POLL_SECONDS: expected a number" in run.stderr.splitlines()[-1]


def test_the_api_loads_no_part_of_the_pipeline(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    publish(uri, DAYS[0], numbered(0))
    code = f"""
import sys
from recsys_api.app import create_app
from recsys_api.settings import Settings
app = create_app(Settings(storage_uri={uri!r}))
app.state.reloader.refresh()
snapshot = app.state.reloader.current
assert snapshot.recommendations.get(0, 2) and 0 in snapshot.similar_items and snapshot.top_popular.get("all", 1)
heavy = {{"dagster", "polars", "narwhals", "catboost", "pandas", "duckdb", "implicit", "scipy", "optuna", "mlflow"}}
print(sorted(heavy & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
