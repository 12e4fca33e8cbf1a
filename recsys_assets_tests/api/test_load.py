"""``make load``: visitors ask and post, no faster than the stated pace; logs that cannot be used say why."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.load.visits import VisitsError, read_visits
from recsys_assets_tests.api.conftest import eventually
from recsys_assets_tests.api.publishing import publish
from recsys_assets_tests.api.test_answers import CONTENT, FACTS
from recsys_assets_tests.api.test_metrics import by
from recsys_assets_tests.api.test_server import running
from recsys_assets_tests.api.test_workers import measured

ROOT = Path(__file__).resolve().parents[2]
KEY = "a-write-key-0123456789"


def test_visitors_ask_and_post_and_no_faster_than_stated(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    publish(uri, "2015-08-02", CONTENT, **FACTS)
    log = tmp_path / "events.csv"
    log.write_text("timestamp,visitorid,event,itemid\n1,1,view,20\n2,2,view,5\n")
    with running(tmp_path, uri, RECSYS_API_WRITE_KEYS=KEY) as server:
        eventually(lambda: server.get("/health/ready")[0] == 200)
        command = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            "benchmarks/load/locustfile.py",
            "--headless",
            "--only-summary",
        ]
        asked = ["--host", f"http://127.0.0.1:{server.port}", "--users", "20", "--spawn-rate", "20", "--run-time", "4s"]
        env = {**os.environ, "RATE": "20", "EVENTS": str(log), "RECSYS_API_WRITE_KEYS": KEY}
        run = subprocess.run([*command, *asked], capture_output=True, text=True, cwd=ROOT, env=env)
        assert run.returncode == 0, run.stdout + run.stderr
        metrics = measured(server)
    pages = ("/recommendations/{user_id}", "/similar/{item_id}", "/popular")
    requests = by(metrics, "http_requests_total", "route", "status")
    assert 0 < sum(requests.get((page, "200"), 0) for page in pages) <= 100, "20 a second for 4 seconds"
    assert {status for route, status in requests if not route.startswith("/health")} == {"200"}
    assert by(metrics, "recsys_cold_users_total")
    items, shown = (
        by(metrics, name, "source") for name in ("recsys_recommended_items_total", "recsys_impressions_total")
    )
    assert sum(shown.values()) > 0
    assert set(shown) <= set(items)
    for told in ("95%", "99%", *pages, "/events (impressions)"):
        assert told in run.stdout + run.stderr


def test_logs_of_several_forms_are_read_and_others_refused(tmp_path: Path) -> None:
    served = tmp_path / "events.jsonl.gz"
    served.write_bytes(gzip.compress(b'{"user_id": 1, "item_id": 2}\n\n{"user_id": 3, "item_id": 4}\n'))
    assert read_visits(served, "int64", "string") == [(1, "2"), (3, "4")]
    assert read_visits(served, "int64", "int64", most=1) == [(1, 2)]
    csv = tmp_path / "events.csv"
    csv.write_text("userid,item_id\nann,5\n")
    assert read_visits(csv, "string", "int64") == [("ann", 5)]
    with pytest.raises(VisitsError, match="event 1: the release has int64 ids, found ann, 5"):
        read_visits(csv, "int64", "int64")
    csv.write_text("user,item_id\nann,5\n")
    with pytest.raises(VisitsError, match="expected columns user_id and item_id, found user, item_id"):
        read_visits(csv, "string", "int64")
    csv.write_text("user_id,item_id\n")
    with pytest.raises(VisitsError, match="no events"):
        read_visits(csv, "string", "int64")
