"""People are told of releases and failures, and a channel that is down harms nothing and gives no secret away."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from recsys_assets.automation.notifications import notification_sensors
from recsys_assets.automation.runs import BY_CONSOLE
from recsys_assets.definitions import build_definitions
from recsys_assets.jobs import WAITS
from recsys_assets.resources.naming import Names
from recsys_assets.resources.notifier import Notifier, notifier_of
from recsys_assets.settings import load_settings

TOKEN = "123456:AAsecretsecret"
HIDDEN = "T0/B0/hooksecret"
DAY = "2015-05-03"
DAYS = dg.StaticPartitionsDefinition([DAY])


@dataclass
class Server:
    """Answers as told: a status; ``hang`` or ``drip`` without end; ``close`` without an answer."""

    behaviour: str = "200"
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.got.append((self.path, json.loads(body)))
            if state.behaviour == "hang":
                state.over.wait(30)
            elif state.behaviour == "drip":
                self.send_response(200)
                self.end_headers()
                while not state.over.wait(0.1):
                    self.wfile.write(b" ")
            elif state.behaviour != "close":
                self.send_response(int(state.behaviour))
                self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    state.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield state
    state.over.set()
    listening.shutdown()
    listening.server_close()


def notifier(url: str, **options: Any) -> Notifier:
    arguments: dict[str, Any] = {"timeout": 0.5, "attempts": 2, "pause": 0.01, **options}
    return Notifier(
        SecretStr(f"{url}/{HIDDEN}"),
        SecretStr(TOKEN),
        "-100",
        telegram_url=url,
        **arguments,
    )


def test_both_channels_get_the_message(server: Server) -> None:
    warnings: list[str] = []
    notifier(server.url).send("hello", {"event": "success", "day": "2015-05-03"}, warnings.append)
    assert warnings == []
    got = dict(server.got)
    assert got[f"/{HIDDEN}"] == {"text": "hello", "event": "success", "day": "2015-05-03"}
    assert got[f"/bot{TOKEN}/sendMessage"] == {"chat_id": "-100", "text": "hello", "disable_web_page_preview": True}


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ("hang", "no answer within 0.5 s|TimeoutError"),
        ("drip", "no answer within 0.5 s"),
        ("close", "RemoteDisconnected"),
        ("500", "HTTP 500"),
        ("401", "HTTP 401"),
    ],
)
def test_a_channel_that_fails_is_a_warning_soon(
    behaviour: str, told: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.behaviour = behaviour
    warnings: list[str] = []
    notifier(server.url).send("hello", {}, warnings.append)
    assert len(server.got) == 4, "two channels, two attempts each"
    assert [warning.split(":")[0] for warning in warnings] == [
        f"notification not sent to {channel} after 2 attempts" for channel in ("webhook", "Telegram")
    ]
    assert all(any(one in warning for one in told.split("|")) for warning in warnings)
    assert_no_secret(*warnings, caplog.text)


@pytest.mark.parametrize(
    "url", ["http://no-such-host.invalid", "http://127.0.0.1:1", "file:///etc", "http://[half", "http://a b\n", ""]
)
def test_an_address_that_leads_nowhere_is_a_warning_without_the_address(url: str) -> None:
    warnings: list[str] = []
    notifier(url, timeout=5).send("hello", {}, warnings.append)
    assert len(warnings) == 2
    assert_no_secret(*warnings)


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30) and [])
    warnings: list[str] = []
    notifier("http://slow.example").send("hello", {}, warnings.append)
    over.set()
    assert [warning.rpartition(": ")[2] for warning in warnings] == ["no answer within 0.5 s"] * 2


def test_secrets_show_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notification_sensors(Notifier(), Names()) == []
    for name, value in (("NOTIFY_WEBHOOK_URL", f"https://x/{HIDDEN}"), ("TELEGRAM_TOKEN", TOKEN)):
        monkeypatch.setenv(f"RECSYS_{name}", value)
    monkeypatch.setenv("RECSYS_TELEGRAM_CHAT_ID", "-100")
    settings, dataset = load_settings()
    assert notifier_of(settings).channels == ["webhook", "Telegram"]
    definitions = build_definitions(settings, dataset)
    assert {"notify_success", "notify_failure"} <= {sensor.name for sensor in definitions.sensors or []}
    # What the code server sends to the UI and the daemon, resources with their configuration included.
    from dagster._core.remote_representation.external_data import RepositorySnap
    from dagster._serdes import serialize_value

    snapshot = serialize_value(RepositorySnap.from_def(definitions.get_repository_def()))
    assert "notify_failure" in snapshot
    assert_no_secret(snapshot, repr(settings), str(settings), repr(notifier_of(settings)))


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        assert not any(secret in text for secret in (TOKEN, HIDDEN, "AAsecret", "hooksecret"))


@dg.asset(partitions_def=DAYS)
def release() -> dg.MaterializeResult[Any]:
    told = {
        "release_id": "2015-05-03-abc",
        "served": False,
        "why": "older",
        "served_by": "ranker",
        "lacks": "a.csv (cut)",
    }
    return dg.MaterializeResult(metadata=told)


@dg.asset(partitions_def=DAYS)
def other() -> None:
    pass


@dg.asset(partitions_def=DAYS)
def broken() -> None:
    try:
        raise ValueError("events.csv: column 'item' is missing")
    except ValueError as error:
        raise RuntimeError("the step failed") from error


def run_and_react(server: Server, *assets: dg.AssetsDefinition, tags: dict[str, str] | None = None) -> None:
    """Run some assets and give its end to the sensor that is for it, as the daemon would."""
    success, failure = notification_sensors(notifier(server.url), Names())
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(assets, instance=instance, partition_key=DAY, raise_on_error=False, tags=tags)
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        event = next(
            e for e in reversed(result.all_events) if e.event_type_value in ("PIPELINE_SUCCESS", "PIPELINE_FAILURE")
        )
        sensor = success if result.success else failure
        context = dg.build_run_status_sensor_context(sensor.name, event, instance, run)
        sensor(context if result.success else context.for_run_failure())


def test_a_release_is_told_of_with_who_orders_it_and_whether_it_is_served(server: Server) -> None:
    run_and_react(server, release)
    text = (
        "Release 2015-05-03-abc as of 2015-05-03: lists ordered by ranker; it is not served: older. "
        "It lacks a.csv (cut)."
    )
    assert {body["text"] for _, body in server.got} == {text}
    assert len(server.got) == 2


@dg.asset(partitions_def=DAYS)
def staged() -> None:
    context = dg.AssetExecutionContext.get()
    waits = {"events_bad.csv": "cut off", "day 2015-08-01": "is held"}
    context.log_event(dg.AssetObservation("raw_events", metadata={WAITS: waits}))
    context.log_event(dg.AssetObservation("raw_events", metadata={"files": 2}))


@dg.asset_check(asset=other, name="complete", blocking=True)
def lacking() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, metadata={"why": "events_bad.csv (cut off)"})


def test_what_waits_for_a_person_is_told_of(server: Server) -> None:
    run_and_react(server, staged)
    hook = dict(server.got)[f"/{HIDDEN}"]
    assert hook["text"] == "The landing zone waits for a person: day 2015-08-01 (is held), events_bad.csv (cut off)."
    assert hook["waits"] == {"events_bad.csv": "cut off", "day 2015-08-01": "is held"}
    assert len(server.got) == 2


def test_a_failed_check_is_told_of_with_why_it_failed(server: Server) -> None:
    run_and_react(server, other, lacking)
    hook = dict(server.got)[f"/{HIDDEN}"]
    assert hook["error"].endswith("check complete: events_bad.csv (cut off)")


def test_runs_without_a_release_and_runs_that_are_tried_again_are_not_told_of(server: Server) -> None:
    run_and_react(server, other)
    run_and_react(server, broken, tags={"dagster/will_retry": "true"})
    assert server.got == []


def test_runs_that_somebody_watches_on_a_console_are_not_told_of(server: Server) -> None:
    run_and_react(server, release, tags=dict(BY_CONSOLE))
    run_and_react(server, broken, tags=dict(BY_CONSOLE))
    assert server.got == []


def test_a_failure_is_told_of_with_its_root_cause(server: Server) -> None:
    run_and_react(server, broken)
    hook = dict(server.got)[f"/{HIDDEN}"]
    assert (hook["event"], hook["partition"], hook["step"]) == ("failure", "2015-05-03", "broken")
    assert hook["error"] == "ValueError: events.csv: column 'item' is missing"
    assert "for 2015-05-03 failed at step broken: ValueError: events.csv" in hook["text"]


def test_a_notifier_that_fails_fails_no_sensor(server: Server) -> None:
    server.behaviour = "500"
    run_and_react(server, release)
    run_and_react(server, broken)
    assert len(server.got) == 8
