"""What is counted, held against what was asked and answered; and counts that equal the metrics."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from recsys_api.metrics import Metrics
from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.api.publishing import Content, publish
from recsys_assets_tests.api.test_answers import CONTENT, FACTS

WRITE, ADMIN = {"X-API-Key": "a-write-key-0123456789"}, {"X-API-Key": "an-admin-key-0123456789"}
DAY = "2015-08-02"

Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str) -> dict[Sample, float]:
    """The samples of Prometheus' text format, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def by(measured: dict[Sample, float], name: str, *labels: str) -> dict[Any, float]:
    """The samples of a name that are not 0, by the values of labels."""
    found = {key: value for key, value in measured.items() if key[0] == name and value}
    return {tuple(dict(key[1])[label] for label in labels): value for key, value in found.items()}


def measured(client: TestClient) -> dict[Sample, float]:
    return samples(client.get("/metrics").text)


@pytest.fixture
def client(make_settings: Callable[..., Settings], store_uri: str) -> Iterator[TestClient]:
    publish(store_uri, DAY, CONTENT, **FACTS)
    keys = {"api_write_keys": WRITE["X-API-Key"], "api_admin_keys": ADMIN["X-API-Key"]}
    with client_of(make_settings(**keys)) as client:
        yield client


def test_answers_count_by_mode_source_and_reason(client: TestClient) -> None:
    asked = [
        client.get("/recommendations/1?k=5").json(),  # their own list
        client.get("/recommendations/2?k=6").json(),  # a list that is too short
        client.get("/recommendations/77?k=4").json(),  # unknown
        client.post("/sessions/recommendations", json={"seen": [1, 2], "k": 3}).json(),
        client.get("/recommendations/1?k=100&filter=price%20%3C%203").json(),  # fewer than asked for
        client.get("/recommendations/77?filter=price%20%3E%201000").json(),  # nothing passes
    ]
    metrics = measured(client)
    sources = Counter(item["source"] for answer in asked for item in answer["items"])
    assert len(sources) >= 3
    assert by(metrics, "recsys_recommended_items_total", "source") == {(s,): n for s, n in sources.items()}
    modes = Counter(answer["mode"] for answer in asked)
    assert by(metrics, "recsys_answers_total", "mode") == {(mode,): n for mode, n in modes.items()}
    reasons: Counter[str] = Counter()
    for answer in asked:
        reasons.update(answer["fallbacks"])
    assert set(reasons) >= {"short_list", "unknown_user"}
    assert by(metrics, "recsys_fallback_items_total", "reason") == {(reason,): n for reason, n in reasons.items()}
    full = [answer for answer in asked if answer["items"]]
    lists = [answer for answer in full if answer["mode"] == "offline"]
    offline = [1 - sum(answer["fallbacks"].values()) / len(answer["items"]) for answer in lists]
    assert len(offline) >= 2
    assert by(metrics, "recsys_offline_share_sum") == {(): pytest.approx(sum(offline))}
    assert by(metrics, "recsys_offline_share_count") == {(): len(full)}
    assert by(metrics, "recsys_cold_users_total") == {(): 2}
    assert by(metrics, "recsys_empty_answers_total") == {(): 1}
    assert by(metrics, "recsys_short_answers_total") == {(): 1}


def test_requests_count_by_template_whatever_clients_ask_for(client: TestClient) -> None:
    before = len(measured(client))
    for n in range(40):
        client.get(f"/recommendations/{n}?k=1")
        client.get(f"/no/such/page/{n}")
        client.request(f"M{n}", "/popular")
    client.get("/popular?k=0")
    client.get("/popular", headers={"X-Request-ID": "mine"})
    client.get("/docs/assets/swagger-ui.css")
    metrics = measured(client)
    counted = by(metrics, "http_requests_total", "route", "method", "status")
    expected = {
        ("/recommendations/{user_id}", "GET", "200"): 40,
        ("unmatched", "GET", "404"): 40,
        ("/popular", "other", "405"): 40,
        ("/popular", "GET", "422"): 1,
        ("/popular", "GET", "200"): 1,
        ("/docs/assets/{path}", "GET", "200"): 1,
    }
    assert {key: counted[key] for key in expected} == expected
    assert by(metrics, "http_request_duration_seconds_count", "route", "method", "status") == counted
    assert len(metrics) - before < 120, "labels grow with what clients ask for"


def test_events_count_by_type_and_those_that_follow_from_answers_by_placement_and_source(client: TestClient) -> None:
    shown = {"recommendation_id": "r1", "placement": "cart", "source": "ranker"}
    events: list[dict[str, Any]] = [
        {"event_type": "impression", **shown},
        {"event_type": "impression", **shown, "item_id": 6},
        {"event_type": "impression"},
        {"event_type": "impression", **shown, "placement": "made up", "source": "made up"},
        {"event_type": "view", **shown},
        {"event_type": "buy", **shown},
        {"event_type": "view", **shown, "source": "sessions", "placement": "cheap"},
        {"event_type": "view"},
        {"event_type": "dislike", **shown},
    ]
    events = [{"user_id": 1, "item_id": 5, "event_id": f"e{n}", **event} for n, event in enumerate(events)]
    packed = gzip.compress(json.dumps(events[:6]).encode())
    headers = {**WRITE, "Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert client.post("/events", content=packed, headers=headers).json()["accepted"] == 6
    # Those that are known count as neither impressions nor clicks again.
    answer = client.post("/events", json=events[3:], headers=WRITE).json()
    assert (answer["accepted"], answer["duplicates"]) == (3, 3)
    assert client.post("/events", json=events[0]).status_code == 401

    metrics = measured(client)
    accepted = by(metrics, "recsys_events_accepted_total", "type")
    assert accepted == {("impression",): 4, ("view",): 3, ("buy",): 1, ("dislike",): 1}
    assert by(metrics, "recsys_events_duplicate_total", "type") == {("impression",): 1, ("view",): 1, ("buy",): 1}
    assert by(metrics, "recsys_impressions_total", "placement", "source") == {
        ("cart", "ranker"): 2,
        ("none", "none"): 1,
        ("other", "other"): 1,
    }
    assert by(metrics, "recsys_clicks_total", "placement", "source") == {
        ("cart", "ranker"): 2,
        ("cheap", "sessions"): 1,
    }
    requests = by(metrics, "http_requests_total", "route", "method", "status")
    assert requests["/events", "POST", "200"] == 2, "a compressed body hides no route"
    assert requests["/events", "POST", "401"] == 1
    assert by(metrics, "recsys_events_unexported") == {(): 9}


def test_types_of_a_release_that_states_none_are_no_labels(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    publish(store_uri, DAY, Content({1: [2]}, {}, {"all": [2]}))
    with client_of(make_settings(api_open_writes=True)) as client:
        for n in range(3):
            client.post("/events", json={"user_id": 1, "item_id": 2, "event_type": f"made_up_{n}"})
        assert by(measured(client), "recsys_events_accepted_total", "type") == {("other",): 3}


def test_sources_of_releases_without_end_are_no_labels_without_end() -> None:
    metrics = Metrics()
    for n in range(1000):
        metrics.answer("offline", [f"source {n}"], 1, {}, cold=False, offline=0)
    counted = by(samples(metrics.exposition().decode()), "recsys_recommended_items_total", "source")
    assert len(counted) <= 201
    assert sum(counted.values()) == 1000


def test_the_release_its_age_and_what_could_not_be_loaded(
    make_settings: Callable[..., Settings], store_uri: str, tmp_path: Path
) -> None:
    first = publish(store_uri, DAY, CONTENT, **FACTS)
    with client_of(make_settings()) as client:
        info = "recsys_release_info"
        metrics = measured(client)
        assert by(metrics, info, "release_id", "as_of") == {(first, DAY): 1}
        age = metrics["recsys_release_age_seconds", frozenset()]
        assert metrics["recsys_release_reload_failures_total", frozenset()] == 0
        second = publish(store_uri, "2015-08-03", CONTENT, **{**FACTS, "as_of_end": "2015-08-04T00:00:00+00:00"})
        eventually(lambda: by(measured(client), info, "release_id") == {(second,): 1})
        younger = measured(client)["recsys_release_age_seconds", frozenset()]
        assert client.get("/release").json()["beyond_horizon"] is None, "the release does not state its horizon"
        assert age - younger == pytest.approx(86_400, abs=3600)
        third = publish(store_uri, "2015-08-04", Content({1: [2]}, {}, {"all": [2]}))
        (tmp_path / "store" / "releases" / third / "top_popular.rows.arrow").write_bytes(b"damaged")
        eventually(lambda: measured(client)["recsys_release_reload_failures_total", frozenset()] > 0)
        assert by(measured(client), "recsys_errors_total", "part")["releases",] > 0


def test_what_goes_wrong_counts_by_part(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    app: Any = client.app
    with monkeypatch.context() as patched:
        patched.setattr(app.state.reloader.current.top_popular.__class__, "get", broken)
        with pytest.raises(RuntimeError):
            client.get("/popular")
    view = {"user_id": 1, "item_id": 5, "event_type": "view"}
    assert client.post("/events", json=view, headers=WRITE).status_code == 200  # of others, nothing is read
    app.state.events._reading.close()  # pyright: ignore[reportPrivateUsage]
    assert client.get("/recommendations/1").json()["fallbacks"]["events_unavailable"] == 10
    assert client.get("/events/1", headers=WRITE).status_code == 503
    metrics = measured(client)
    assert by(metrics, "recsys_errors_total", "part") == {("requests",): 1, ("events",): 2}
    assert by(metrics, "recsys_fallback_items_total", "reason") == {("events_unavailable",): 10}
    assert by(metrics, "http_requests_total", "route", "status")["/popular", "500"] == 1


def test_the_process_is_measured(client: TestClient) -> None:
    first = measured(client)
    for _ in range(30):
        client.get("/recommendations/1?k=50&explain=true")
    later = measured(client)
    cpu, memory = ("process_cpu_seconds_total", frozenset[Any]()), ("process_resident_memory_bytes", frozenset[Any]())
    assert 0 < first[cpu] < later[cpu]
    assert 2**24 < later[memory] < 2**36
    assert later["recsys_workers", frozenset()] == 1


STEPS = st.lists(st.sampled_from(["own", "cold", "post", "wrong", "reset"]), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_stats_are_the_metrics_since_the_last_reset(client: TestClient, steps: list[str]) -> None:
    def counters() -> dict[Sample, float]:
        found = measured(client)
        return {key: value for key, value in found.items() if key[0].endswith(("_total", "_count", "_sum"))}

    def own(counted: dict[Sample, float]) -> dict[Sample, float]:
        """Without what looking at them changes."""
        looks = {("route", "/metrics"), ("route", "/stats"), ("route", "/stats/reset")}
        return {k: v for k, v in counted.items() if not looks & k[1] and not k[0].startswith("process_")}

    assert client.post("/stats/reset", headers=ADMIN).status_code == 200
    base = counters()
    for step in steps:
        match step:
            case "own":
                client.get("/recommendations/1")
            case "cold":
                client.get("/recommendations/404")
            case "post":
                shown = {"recommendation_id": "r", "placement": "cart", "source": "ranker"}
                client.post("/events", json={"user_id": 9, "item_id": 5, "event_type": "view", **shown}, headers=WRITE)
            case "wrong":
                client.get("/recommendations/x")
            case _:
                client.post("/stats/reset", headers=ADMIN)
                base = counters()
    answer = client.get("/stats").json()
    stats = {
        (name, frozenset(count["labels"].items())): count["value"]
        for name, counts in answer["counts"].items()
        for count in counts
    }
    expected = {key: value - base.get(key, 0.0) for key, value in counters().items()}
    assert own(stats) == pytest.approx(own(expected))
    assert answer["reset_at"] is not None


def test_only_administrators_reset(client: TestClient) -> None:
    client.get("/recommendations/1")
    before = client.get("/stats").json()
    assert before["reset_at"] is None
    assert [client.post("/stats/reset", headers=headers).status_code for headers in ({}, WRITE)] == [401, 401]
    assert client.get("/stats").json()["counts"]["recsys_answers_total"] == before["counts"]["recsys_answers_total"]


def test_applications_of_one_process_count_for_themselves(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    publish(store_uri, DAY, CONTENT, **FACTS)
    with client_of(make_settings()) as one, client_of(make_settings()) as other:
        one.get("/recommendations/77")
        assert by(measured(one), "recsys_cold_users_total") == {(): 1}
        assert by(measured(other), "recsys_cold_users_total") == {}
