"""What watches the platform: dashboards, alerts, the collector of the pipeline's figures, and the way of alerts."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from pydantic import SecretStr

from boards.panels import ROWS_OF_A_SCREEN
from recsys_assets.monitoring.collector import Part, PipelineCollector, gauge
from recsys_assets.monitoring.server import application, message
from recsys_assets.resources.notifier import Notifier
from write_dashboards import FOLDER, built, encoded

ROOT = Path(__file__).resolve().parent.parent
VARIABLES = {"$__rate_interval": "1m", "$__range": "10m", "$instance": ".*", "$cores": "2", "$memory": "2"}


def boards() -> dict[str, dict[str, Any]]:
    """The committed dashboards by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def expressions() -> dict[str, list[str]]:
    """The queries of all panels, by dashboard and title, with variables filled in."""
    found: dict[str, list[str]] = {}
    for name, board in boards().items():
        for panel in board["panels"]:
            exprs = [target["expr"] for target in panel["targets"]]
            for variable, value in VARIABLES.items():
                exprs = [expr.replace(variable, value) for expr in exprs]
            found[f"{name}: {panel['title']}"] = exprs
    return found


def alerts() -> list[dict[str, Any]]:
    """The rules of Prometheus that alert or record."""
    groups = yaml.safe_load((ROOT / "docker/prometheus/rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_in(expr: str) -> set[str]:
    """The names of metrics in an expression: words that are neither in strings nor followed by a bracket."""
    bare = re.sub(r'"[^"]*"', "", expr)
    return set(re.findall(r"\b(?:recsys[_:]|http_|process_)[\w:]+|\bup\b", bare))


@pytest.mark.parametrize("name", ["serving.json", "pipeline.json"])
def test_dashboards_are_what_the_code_gives_and_what_the_sdk_reads(name: str) -> None:
    committed = (FOLDER / name).read_text()
    assert committed == encoded(built()[name]), "python docker/grafana/write_dashboards.py writes them anew"
    register_default_plugins()
    read = json.loads(encoded(Dashboard.from_json(json.loads(committed))))
    assert lost(json.loads(committed), read) == []


def lost(stated: Any, read: Any, path: str = "") -> list[str]:
    """What an object does not have of another one, which it may add defaults to."""
    if isinstance(stated, dict) and isinstance(read, dict):
        return [one for key, value in stated.items() for one in lost(value, read.get(key), f"{path}.{key}")]
    if isinstance(stated, list) and isinstance(read, list) and len(stated) == len(read):
        pairs = zip(stated, read, strict=True)
        return [one for n, (left, right) in enumerate(pairs) for one in lost(left, right, f"{path}[{n}]")]
    return [] if stated == read else [f"{path}: {stated!r} became {read!r}"]


def test_panels_say_what_they_show_and_lie_side_by_side() -> None:
    for name, board in boards().items():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            assert panel["title"], name
            assert panel["description"].endswith("."), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not cells & taken, f"{panel['title']} lies on another panel"
            assert place["x"] + place["w"] <= 24
            taken |= cells
        assert len(taken) == 24 * (1 + max(y for _, y in taken)), f"{name} has holes"


def test_serving_fits_on_one_screen() -> None:
    places = [panel["gridPos"] for panel in boards()["serving"]["panels"]]
    assert len(places) >= 6
    assert max(place["y"] + place["h"] for place in places) <= ROWS_OF_A_SCREEN


def test_alerts_say_how_bad_they_are_and_where_their_runbook_is() -> None:
    runbook = (ROOT / "docs/runbook.md").read_text()
    named = {rule["alert"] for rule in alerts() if "alert" in rule}
    assert set(re.findall(r"^### (Recsys\w+)$", runbook, re.MULTILINE)) == named
    for rule in alerts():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert {"summary", "description"} <= rule["annotations"].keys()
            assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_every_alert_fires_in_a_test_of_rules() -> None:
    tests = yaml.safe_load((ROOT / "docker/prometheus/rules.test.yml").read_text())["tests"]
    wanted = [test for case in tests for test in case["promql_expr_test"]]
    fired = {
        name for test in wanted for s in test.get("exp_samples", ()) for name in re.findall(r"Recsys\w+", s["labels"])
    }
    assert fired == {rule["alert"] for rule in alerts() if "alert" in rule}


def test_metrics_of_the_pipeline_are_in_the_documents() -> None:
    documented = set(re.findall(r"`(recsys_pipeline_\w+)`", (ROOT / "docs/monitoring.md").read_text()))
    asked = [*(expr for exprs in expressions().values() for expr in exprs), *(rule["expr"] for rule in alerts())]
    used = {name for expr in asked for name in metrics_in(expr) if name.startswith("recsys_pipeline_")}
    assert used <= documented


def shown(collector: PipelineCollector) -> str:
    return generate_latest(collector).decode()


def test_a_part_that_fails_hides_its_figures_and_no_others() -> None:
    clock = [1000.0]
    fails = [False]

    def read(name: str) -> Callable[[], Iterator[Metric]]:
        def figures() -> Iterator[Metric]:
            if fails[0] and name == "b":
                raise ConnectionError("the database is away")
            family = gauge(name, "A figure.")
            family.add_metric([], clock[0])
            yield family

        return figures

    collector = PipelineCollector([Part("a", 10, read("a")), Part("b", 20, read("b"))], lambda: clock[0])
    assert collector.refresh() == 10
    assert "recsys_pipeline_a 1000.0" in shown(collector)
    clock[0], fails[0] = 1010, True
    collector.refresh()
    assert "recsys_pipeline_a 1010.0" in shown(collector)
    assert "recsys_pipeline_b 1000.0" in shown(collector), "it is not due yet"
    clock[0] = 1020
    collector.refresh()
    text = shown(collector)
    assert "recsys_pipeline_a 1020.0" in text
    assert "\nrecsys_pipeline_b " not in text, "what is not known any more is not shown"
    assert 'recsys_pipeline_read_errors_total{part="b"} 1.0' in text
    assert 'recsys_pipeline_read_errors_total{part="a"} 0.0' in text
    assert 'recsys_pipeline_read_timestamp_seconds{part="b"} 1000.0' in text
    clock[0], fails[0] = 1040, False
    collector.refresh()
    assert "recsys_pipeline_b 1040.0" in shown(collector)


ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "RecsysApiDown", "severity": "critical"},
    "annotations": {"summary": "It is down", "runbook_url": "docs/runbook.md#recsysapidown"},
}


def test_alerts_become_one_message() -> None:
    resolved = {**ALERT, "status": "resolved"}
    text, facts = message({"status": "firing", "alerts": [ALERT, resolved, *[ALERT] * 30]})
    first, second, *_, last = text.splitlines()
    assert first == "[critical] RecsysApiDown: It is down (docs/runbook.md#recsysapidown)"
    assert second == "[resolved] RecsysApiDown: It is down"
    assert last == "and 12 more"
    assert (facts["event"], facts["status"], len(facts["alerts"])) == ("alert", "firing", 20)


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/metrics", b"", "200"),
        ("GET", "/", b"", "404"),
        ("GET", "/alerts", b"", "405"),
        ("POST", "/metrics", b"{}", "405"),
        ("POST", "/alerts", b"{", "400"),
        ("POST", "/alerts", b"[]", "400"),
        ("POST", "/alerts", b'{"status": "firing"}', "400"),
        ("POST", "/alerts", b"", "413"),
        ("POST", "/alerts", b'{"status": "firing", "alerts": []}', "503"),
    ],
)
def test_routes_answer(method: str, path: str, body: bytes, expected: str) -> None:
    assert asked(Notifier(), method, path, body)[:3] == expected


def test_an_alert_that_reaches_nobody_is_tried_again() -> None:
    nobody = Notifier(webhook_url=SecretStr("http://127.0.0.1:9/secret-address"), attempts=1, timeout=1)
    document = json.dumps({"status": "firing", "alerts": [ALERT]}).encode()
    answer = asked(nobody, "POST", "/alerts", document)
    assert answer.startswith("502")
    assert "secret-address" not in answer


def asked(notifier: Notifier, method: str, path: str, body: bytes) -> str:
    """Status and text of an answer."""
    statuses: list[str] = []

    def metrics(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(status)

    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_LENGTH": str(len(body))}
    answer = application(metrics, notifier)({**environ, "wsgi.input": io.BytesIO(body)}, start_response)
    return f"{statuses[0]} {b''.join(answer).decode()}"
