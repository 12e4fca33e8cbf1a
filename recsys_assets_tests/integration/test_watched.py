"""A real Prometheus scrapes a real API under load and ``recsys metrics`` on a built store; dashboards and rules ask it.

Grafana itself is not run: its part, from the JSON to the picture, is held by the types of its SDK (test_monitoring.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from math import isnan
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import yaml
from dagster._daemon.types import DaemonHeartbeat

from recsys_assets_tests.api.conftest import eventually
from recsys_assets_tests.api.publishing import publish
from recsys_assets_tests.api.test_answers import CONTENT, FACTS
from recsys_assets_tests.api.test_server import running
from recsys_assets_tests.compose import DOCKER
from recsys_assets_tests.integration.world import SMALL, World
from recsys_assets_tests.ports import free_port
from recsys_assets_tests.processes import end
from recsys_assets_tests.test_monitoring import alerts, expressions, metrics_in

pytestmark = pytest.mark.stack

KEY = {"X-API-Key": "a-write-key-0123456789"}
SECONDS_OF_LOAD = 12


@dataclass
class Told:
    """What a webhook was told."""

    url: str
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@dataclass
class Watching:
    """The addresses of Prometheus and Alertmanager, and what reached the webhook."""

    prometheus: str
    alertmanager: str
    told: Told

    def ask(self, path: str, **params: str) -> Any:
        answer = httpx.get(f"{self.prometheus}/api/v1/{path}", params=params).json()
        assert answer["status"] == "success", (params, answer)
        return answer["data"]


def test_configurations_are_valid() -> None:
    for command in (
        ["promtool", "check", "config", "prometheus/prometheus.yml"],
        ["promtool", "check", "rules", "prometheus/rules.yml"],
        ["promtool", "test", "rules", "prometheus/rules.test.yml"],
        ["amtool", "check-config", "alertmanager/alertmanager.yml"],
    ):
        done = subprocess.run(command, cwd=DOCKER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def process(command: list[str], log: Path, **env: str) -> Generator[None]:
    with log.open("w") as sink:
        started = subprocess.Popen(command, stdout=sink, stderr=sink, env={**os.environ, **env})
    try:
        yield
    except BaseException as error:
        error.add_note(log.read_text()[-3000:])
        raise
    finally:
        end(started, 20)


@contextmanager
def webhook() -> Generator[Told]:
    told = Told("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield told
        server.shutdown()


def visit(api: httpx.Client) -> None:
    """A moment of traffic: lists, strangers, impressions and clicks, a wrong request, an empty answer."""
    for user in (1, 2, 77):
        answer = api.get(f"/recommendations/{user}?k=6").json()
        event = {"user_id": user, "placement": "cart", "recommendation_id": answer["recommendation_id"]}
        shown = [{**event, "item_id": i["item_id"], "source": i["source"]} for i in answer["items"]]
        api.post("/events", json=[{**item, "event_type": "impression"} for item in shown], headers=KEY)
        api.post("/events", json={**shown[0], "event_type": "view"}, headers=KEY)
    api.get("/recommendations/77?filter=price%20%3E%201000")
    api.get("/popular?k=0")
    api.get("/similar/1")


@pytest.fixture(scope="module")
def watching(built: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    folder = tmp_path_factory.mktemp("watching")
    ports = {name: free_port() for name in ("pipeline", "alertmanager", "prometheus")}
    built.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "a-daemon", []))
    stated = {**SMALL, "landing_uri": built.settings.landing_uri, "storage_uri": built.settings.storage_uri}
    settings = {f"RECSYS_{name.upper()}": str(value) for name, value in stated.items()}
    uri = (folder / "store").as_uri()
    publish(uri, "2015-08-02", CONTENT, **FACTS)
    with ExitStack() as stack:
        told = stack.enter_context(webhook())
        settings |= {"DAGSTER_HOME": built.instance.root_directory, "RECSYS_NOTIFY_WEBHOOK_URL": told.url}
        command = [sys.executable, "-m", "recsys_assets.cli.metrics", "--port", str(ports["pipeline"])]
        stack.enter_context(process(command, folder / "metrics.log", **settings))
        api = stack.enter_context(running(folder, uri, RECSYS_API_WRITE_KEYS=KEY["X-API-Key"]))
        eventually(lambda: api.get("/health/ready")[0] == 200)
        stack.enter_context(process(*alertmanager(folder, ports)))
        stack.enter_context(process(*prometheus(folder, ports, api.port)))
        address = f"http://127.0.0.1:{ports['prometheus']}"
        found = Watching(address, f"http://127.0.0.1:{ports['alertmanager']}", told)
        until(lambda: scraped(found) == 2)
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{api.port}"))
        visit(client)
        damaged = publish(uri, "2015-08-03", CONTENT, **FACTS)
        (folder / "store" / "releases" / damaged / "top_popular.rows.arrow").write_bytes(b"damaged")
        for _ in range(SECONDS_OF_LOAD):
            visit(client)
            time.sleep(1)
        yield found


def scraped(watching: Watching) -> float:
    try:
        return sum(float(series["value"][1]) for series in watching.ask("query", query="up")["result"])
    except (httpx.TransportError, json.JSONDecodeError):  # it starts: no answer, or a 503 in plain text
        return 0


def until(so: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "not within the time that it may take"
        time.sleep(0.5)


def alertmanager(folder: Path, ports: dict[str, int]) -> tuple[list[str], Path]:
    """The committed configuration, with the address of this test and less patience."""
    text = (DOCKER / "alertmanager" / "alertmanager.yml").read_text()
    assert "http://metrics:9300/alerts" in text
    text = text.replace("metrics:9300", f"127.0.0.1:{ports['pipeline']}").replace("group_wait: 10s", "group_wait: 1s")
    (folder / "alertmanager.yml").write_text(text)
    command = ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", "--cluster.listen-address="]
    listen = f"--web.listen-address=127.0.0.1:{ports['alertmanager']}"
    return [*command, listen, f"--storage.path={folder}/alerts"], folder / "alertmanager.log"


def prometheus(folder: Path, ports: dict[str, int], api: int) -> tuple[list[str], Path]:
    """The committed configuration, with the addresses of this test and a look each second."""
    config = folder / "prometheus"
    shutil.copytree(DOCKER / "prometheus", config)
    for name, port in (("api", api), ("pipeline", ports["pipeline"]), ("alertmanager", ports["alertmanager"])):
        assert (config / "targets" / f"{name}.json").exists()
        (config / "targets" / f"{name}.json").write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"]}]))
    text = (config / "prometheus.yml").read_text()
    (config / "prometheus.yml").write_text(re.sub(r"(scrape|evaluation)(_interval|_timeout): \d+s", r"\1\2: 1s", text))
    command = ["prometheus", f"--config.file={config}/prometheus.yml", f"--storage.tsdb.path={folder}/series"]
    return [*command, f"--web.listen-address=127.0.0.1:{ports['prometheus']}"], folder / "prometheus.log"


def test_every_query_of_the_dashboards_returns_data(watching: Watching) -> None:
    def values(expr: str) -> list[float]:
        return [float(series["value"][1]) for series in watching.ask("query", query=expr)["result"]]

    asked = expressions()
    assert len(asked) > 30
    # Live figures are up to two seconds old.
    until(lambda: not any(isnan(value) for value in values(asked["serving: Live precision"][0])), 20)
    silent = {
        f"{panel}: {expr}"
        for panel, exprs in asked.items()
        for expr in exprs
        if all(isnan(value) for value in values(expr))
    }
    assert silent == set()


def test_the_instances_to_choose_from_are_found(watching: Watching) -> None:
    for name in ("serving", "pipeline"):
        board = json.loads((DOCKER / "grafana" / "dashboards" / f"{name}.json").read_text())
        (variable,) = (v for v in board["templating"]["list"] if v["name"] == "instance")
        found = re.fullmatch(r"label_values\((.+), instance\)", variable["query"])
        assert found is not None
        assert len(watching.ask("label/instance/values", **{"match[]": found.group(1)})) == 1


def test_dashboards_and_rules_name_metrics_that_exist(watching: Watching) -> None:
    existing = set(watching.ask("label/__name__/values"))
    asked = [*(expr for exprs in expressions().values() for expr in exprs), *(rule["expr"] for rule in alerts())]
    named = {name for expr in asked for name in metrics_in(expr)}
    assert len(named) > 30
    assert named - existing == set()


def test_rules_are_loaded_and_evaluate(watching: Watching) -> None:
    rules = [rule for group in watching.ask("rules")["groups"] for rule in group["rules"]]
    written = yaml.safe_load((DOCKER / "prometheus" / "rules.yml").read_text())["groups"]
    assert len(rules) == sum(len(group["rules"]) for group in written)
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] == "err"} == {}
    pending = {rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] != "inactive"}
    assert "RecsysReleaseNotLoaded" in pending, "the newest release is damaged"
    assert pending.isdisjoint({"RecsysApiDown", "RecsysExporterDown", "RecsysFiguresNotRead", "RecsysQueueStuck"})


def test_an_alert_reaches_the_webhook_of_the_settings_as_a_message(watching: Watching) -> None:
    assert len(watching.ask("alertmanagers")["activeAlertmanagers"]) == 1
    notes = {"summary": "The API does not answer", "runbook_url": "docs/runbook.md#recsysapidown"}
    alert = {"labels": {"alertname": "RecsysApiDown", "severity": "critical"}, "annotations": notes}
    assert httpx.post(f"{watching.alertmanager}/api/v2/alerts", json=[alert]).status_code == 200
    until(lambda: bool(watching.told.messages), 60)
    message = watching.told.messages[0]
    assert message["text"] == "[critical] RecsysApiDown: The API does not answer (docs/runbook.md#recsysapidown)"
    assert message["alerts"][0]["labels"]["alertname"] == "RecsysApiDown"


def test_the_figures_are_those_of_the_store(watching: Watching, built: World) -> None:
    def one(expr: str) -> float:
        (series,) = watching.ask("query", query=expr)["result"]
        return float(series["value"][1])

    runs = built.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
    assert one('sum(recsys_pipeline_runs{status="success"})') == len(runs)
    release = watching.ask("query", query="recsys_pipeline_release_info")["result"][0]["metric"]
    assert release["release_id"] == built.served_release()
    rows = built.lineage("clean_events", "2015-06-01").rows
    assert one('recsys_pipeline_event_rows{day="2015-06-01",outcome="clean"}') == rows
    stored = sum(path.stat().st_size for path in (built.folder / "store").rglob("*") if path.is_file())
    assert one("sum(recsys_pipeline_store_bytes)") == pytest.approx(stored, rel=0.05)
