"""``python -m recsys_api`` as it is run: several workers count together, and logs tell nothing of users."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from recsys_assets_tests.api.conftest import eventually
from recsys_assets_tests.api.publishing import publish
from recsys_assets_tests.api.test_answers import CONTENT, FACTS
from recsys_assets_tests.api.test_metrics import Sample, by, samples
from recsys_assets_tests.api.test_server import Server, running

WRITE, ADMIN = "a-write-key-0123456789", "an-admin-key-0123456789"
KEYS = {"RECSYS_API_WRITE_KEYS": WRITE, "RECSYS_API_ADMIN_KEYS": ADMIN}


def ask(server: Server, url: str, method: str = "GET", body: object = None, key: str = "") -> tuple[int, bytes]:
    """An answer over a connection of its own, which any worker may take."""
    connection = server.connect()
    headers = {"Content-Type": "application/json", "X-API-Key": key, "Connection": "close"}
    connection.request(method, url, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, response.read()


def measured(server: Server) -> dict[Sample, float]:
    status, body = ask(server, "/metrics")
    assert status == 200, body
    return samples(body.decode())


def both_serve(server: Server, both: int = 2) -> bool:
    """Whether two workers, or more, live and serve a release. The address is told before any of them listens."""
    try:
        found = measured(server)
    except ConnectionRefusedError:
        return False
    serving = sum(by(found, "recsys_release_info", "release_id").values())
    return found.get(("recsys_workers", frozenset())) == serving == both


def wait_until_both_serve(server: Server, both: int = 2) -> None:
    """Wait for :func:`both_serve`; fails with what the server has logged and counts."""
    try:
        eventually(lambda: both_serve(server, both))
    except AssertionError as error:
        error.add_note(server.log)
        raise


def counts(server: Server) -> dict[str, Any]:
    """The counts of ``/stats`` without those of HTTP requests: a request to ``/stats`` is counted too."""
    answer = json.loads(ask(server, "/stats")[1])
    named = {name: rows for name, rows in answer["counts"].items() if name.startswith("recsys_")}
    return {"reset_at": answer["reset_at"], **{name: sorted(rows, key=str) for name, rows in named.items()}}


def workers(pid: int) -> list[int]:
    """The worker processes of a supervisor: copies that the process which has imported the application makes."""
    makers = [child for child in children(pid) if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return [worker for maker in makers for worker in children(maker)]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def private_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))


def test_workers_count_together_through_a_kill_and_begin_at_zero(tmp_path: Path) -> None:
    uri, shared = (tmp_path / "store").as_uri(), tmp_path / "shared"
    publish(uri, "2015-08-02", CONTENT, **FACTS)
    shared.mkdir()
    for left in ("counter_1.db", "baseline.json"):
        (shared / left).write_bytes(b"left by a server that was killed")
    (shared / "not ours").touch()
    settings = {**KEYS, "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    with running(tmp_path, uri, "--workers", "2", **settings) as server:
        wait_until_both_serve(server)
        assert by(measured(server), "recsys_answers_total", "mode") == {}
        assert (shared / "not ours").exists()
        for unread in ("histogram_999999999.db", "gauge_livesum_999999999.db"):
            (shared / unread).touch()  # as a worker leaves it that is killed before it gave its file a size

        asked: Counter[str] = Counter()
        for n in range(60):
            answer = json.loads(ask(server, f"/recommendations/{n % 4}?k=3")[1])
            asked.update(item["source"] for item in answer["items"])
        assert by(measured(server), "recsys_recommended_items_total", "source") == {(s,): n for s, n in asked.items()}
        files = {path.name for path in shared.glob("counter_*.db")}
        assert files == {f"counter_{pid}.db" for pid in workers(server.process.pid)}
        first = counts(server)
        assert all(counts(server) == first for _ in range(20)), "each worker says the same"

        seen = {"user_id": 1, "item_id": 5, "event_type": "impression", "placement": "cart"}
        assert ask(server, "/events", "POST", [seen, {**seen, "item_id": 6}], WRITE)[0] == 200
        assert ask(server, "/events", "POST", {"user_id": 1, "item_id": 5, "event_type": "view"}, WRITE)[0] == 200
        shares = "recsys_live_precision"
        eventually(lambda: by(measured(server), shares, "placement") == {("cart",): 1 / 2})
        eventually(lambda: all(by(measured(server), shares, "placement") == {("cart",): 1 / 2} for _ in range(20)))

        killed = workers(server.process.pid)[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in workers(server.process.pid) and len(workers(server.process.pid)) == 2)
        wait_until_both_serve(server)
        assert by(measured(server), "recsys_recommended_items_total", "source") == {(s,): n for s, n in asked.items()}

        assert ask(server, "/stats/reset", "POST", key=ADMIN)[0] == 200
        for _ in range(10):
            ask(server, "/recommendations/404?k=2")
        seen = [counts(server) for _ in range(20)]
        assert all(one == seen[0] for one in seen)
        assert seen[0]["recsys_cold_users_total"] == [{"labels": {}, "value": 10.0}]
        assert seen[0]["reset_at"] is not None
        assert by(measured(server), "recsys_cold_users_total")[()] == 10 + 15, "metrics never fall"


def test_further_workers_share_what_the_application_imports(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    publish(uri, "2015-08-02", CONTENT, **FACTS)
    with running(tmp_path, uri, "--workers", "3") as server:
        wait_until_both_serve(server, 3)
        assert all(ask(server, "/recommendations/1")[0] == 200 for _ in range(30))
        alone = [private_kilobytes(worker) for worker in workers(server.process.pid)]
    assert len(alone) == 3
    assert max(alone) < 50 * 1024


def test_a_temporary_folder_goes_with_the_server(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    publish(uri, "2015-08-02", CONTENT, **FACTS)
    temporary = tmp_path / f"a long {'way ' * 30}down"  # the path of a socket has 107 bytes at most
    temporary.mkdir()
    with running(tmp_path, uri, "--workers", "2", TMPDIR=str(temporary)) as server:
        wait_until_both_serve(server)
        assert len(list(temporary.glob("recsys-api-metrics-*/counter_*.db"))) == 2
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
    assert list(temporary.glob("recsys-api-metrics-*")) == []


def test_log_lines_are_json_and_tell_nothing_of_users_or_keys(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    release_id = publish(uri, "2015-08-02", CONTENT, **FACTS)
    user = 4_815_162_342
    with running(tmp_path, uri, RECSYS_API_LOG="json", **KEYS) as server:
        # The line that names the port is JSON as well.
        eventually(lambda: ask(server, "/health/ready")[0] == 200)
        view = {"user_id": user, "item_id": 5, "event_type": "view", "session_id": "a secret visit"}
        assert ask(server, "/events", "POST", view, WRITE)[0] == 200
        assert ask(server, f"/recommendations/{user}?filter=price%3C8")[0] == 200
        assert ask(server, f"/events/{user}", key="not-a-key-0123456789")[0] == 401
        assert ask(server, f"/no/{user}")[0] == 404
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        lines = [json.loads(line) for line in server.log.splitlines()]
        for told in (str(user), "secret visit", WRITE, ADMIN, "not-a-key", "price"):
            assert told not in server.log
    requests = [line for line in lines if line["logger"] == "recsys.requests"]
    shown = [(r["method"], r["route"], r["status"], r["release_id"], r["mode"]) for r in requests[-4:]]
    assert shown == [
        ("POST", "/events", 200, release_id, None),
        ("GET", "/recommendations/{user_id}", 200, release_id, "online"),
        ("GET", "/events/{user_id}", 401, None, None),
        ("GET", "unmatched", 404, None, None),
    ]
    assert all(r["request_id"] and r["milliseconds"] > 0 and r["time"] and r["level"] == "info" for r in requests)


def test_a_bad_setting_is_told_in_one_line() -> None:
    env = {**os.environ, "RECSYS_API_LOG": "xml"}
    run = subprocess.run([sys.executable, "-m", "recsys_api"], capture_output=True, text=True, env=env)
    assert run.returncode == 2
    assert run.stderr == "RECSYS_API_LOG: expected 'text', 'json' or 'quiet', found 'xml'\n"
