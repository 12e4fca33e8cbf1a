"""OpenLineage events: of the specification's form, true, and none lost whatever happens to the destination."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import dagster as dg
import pytest
from jsonschema import Draft202012Validator

from recsys_assets.automation.cursors import read_cursor
from recsys_assets.automation.openlineage_sensor import SentCursor
from recsys_assets.definitions import build_definitions
from recsys_assets.resources import lineage_sink
from recsys_assets.settings import load_settings
from recsys_assets_tests.automation.driver import FAST, Driver
from recsys_assets_tests.automation.test_landing_sensor import HEADER, event
from recsys_assets_tests.integration.world import World, dagster_in, make_world
from recsys_assets_tests.openlineage_form import read_event

SENSOR, KEY = "openlineage_sensor", "pl4nted-key"


def record(**fields: Any) -> dict[str, Any]:
    """A JSON schema of an object that has all of the fields."""
    return {"type": "object", "properties": fields, "required": [*fields]}


TEXT, TIME = {"type": "string", "minLength": 1}, {"type": "string", "format": "date-time"}
URI, ID = {"type": "string", "pattern": "^(https|urn):"}, {"type": "string", "pattern": "^[0-9a-f-]{36}$"}
FACETS = {"type": "object", "additionalProperties": record(_producer=URI, _schemaURL=URI)}
DATASETS = {"type": "array", "items": record(namespace=TEXT, name=TEXT, facets=FACETS)}
FORM = Draft202012Validator(
    record(
        eventType={"enum": ["START", "COMPLETE"]},
        eventTime=TIME,
        run=record(runId=ID, facets=FACETS),
        job=record(namespace=TEXT, name=TEXT, facets=FACETS),
        inputs=DATASETS,
        outputs=DATASETS,
        producer=URI,
        schemaURL=URI,
    ),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)
"""What the specification asks of a run event."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two days have been built."""
    with dagster_in(tmp_path / "dagster") as instance:
        made = make_world(tmp_path, instance, **FAST, openlineage_url=(tmp_path / "sent/lineage.ndjson").as_uri())
        driver = Driver(made)
        driver.put("events.csv", HEADER + event("2015-05-05") + event("2015-05-07") * 2)
        assert driver.land() == ["stage_landing", "history 2015-05-05 2015-05-07"]
        yield made


def sent(world: World) -> list[dict[str, Any]]:
    path = world.folder / "sent/lineage.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def counted(driver: Driver) -> SentCursor:
    return read_cursor(SentCursor, driver.cursors[SENSOR])


def test_every_materialization_is_told_once_and_in_the_form_of_the_specification(world: World) -> None:
    driver = Driver(world)
    driver.tick(SENSOR)
    events = sent(world)
    for one in events:
        assert list(FORM.iter_errors(one)) == []
        read_event(one)
    [run] = [run for run in world.instance.get_runs() if run.job_name == "history"]
    materializations = world.instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    ).records
    complete = [one for one in events if one["eventType"] == "COMPLETE" and not one["job"]["name"].endswith(".checks")]
    assert len(complete) == len(materializations) == counted(driver).sent > 20
    assert len({one["run"]["runId"] for one in events}) == len(events) / 2, "START and COMPLETE, and no run twice"

    written = world.lineage("user_activity", "2015-05-07")
    [one] = [
        one
        for one in complete
        if one["job"]["name"] == "user_activity"
        and one["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2015-05-07T03:00:00+00:00"
    ]
    assert one["run"]["facets"]["nominalTime"]["nominalEndTime"] == "2015-05-08T03:00:00+00:00"
    assert one["run"]["facets"]["parent"]["run"]["runId"] == run.run_id
    assert one["run"]["facets"]["parent"]["job"]["name"] == "history"
    [output] = one["outputs"]
    assert (output["namespace"], output["name"]) == (world.settings.storage_uri, "user_activity")
    assert "user_id" in [column["name"] for column in output["facets"]["schema"]["fields"]]
    assert output["facets"]["recsys_partition"]["sha256"] == written.sha256
    assert output["facets"]["recsys_partition"]["fingerprint"] == written.fingerprint
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (written.rows, written.bytes)
    hashes = {one["name"]: one["facets"]["recsys_partitions"]["sha256"] for one in one["inputs"]}
    assert hashes["clean_events"] == {"2015-05-07": world.lineage("clean_events", "2015-05-07").sha256}

    checks = [one for one in events if one["job"]["name"] == "clean_events.checks" and one["inputs"]]
    assert len(checks) == 3
    for check in checks:
        found = check["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
        assert {"assertion": "rows_add_up", "success": True, "severity": "error"} in found
        assert len(found) == len({one["assertion"] for one in found}), "of this day alone"

    driver.tick(SENSOR)
    again = Driver(world)
    again.load(driver.dump())
    again.tick(SENSOR)
    assert sent(world) == events, "nothing twice, after a restart either"


FACET = {"_producer": "https://us", "_schemaURL": "https://openlineage.io/spec/facets/1-0-1/NominalTimeRunFacet.json"}
FACET["_schemaURL"] += "#/$defs/NominalTimeRunFacet"
EVENT: dict[str, Any] = {
    "eventTime": "2025-01-01T00:00:00Z",
    "eventType": "START",
    "producer": "https://us",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    "job": {"namespace": "file:///store", "name": "release", "facets": {}},
    "run": {"runId": "01890c7e-0000-7000-8000-000000000000", "facets": {}},
}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"eventTime": "2025-01-01"}, "time"),
        ({"when": 1}, r"no \['when'\]"),
        ({"run": {"runId": "1"}}, "UUID"),
        ({"job": {"name": "release"}}, "namespace"),
        ({"job": {"namespace": "n", "name": "release", "facets": {"nominalTime": FACET}}}, "no JobFacet"),
        ({"run": {**EVENT["run"], "facets": {"nominalTime": {**FACET, "nominalStartTime": 1}}}}, "1 is no"),
        ({"run": {**EVENT["run"], "facets": {"nominalTime": FACET}}}, "nominalStartTime"),
    ],
)
def test_an_event_of_another_form_is_found(changed: dict[str, Any], fault: str) -> None:
    read_event(EVENT)
    with pytest.raises(ValueError, match=fault):
        read_event({**EVENT, **changed})


def test_a_line_that_was_cut_off_is_sent_anew(world: World) -> None:
    path = world.folder / "sent/lineage.ndjson"
    path.parent.mkdir()
    path.write_text('{"whole": 1}\n{"eventType": "COMP')
    Driver(world).tick(SENSOR)
    assert sent(world)[0] == {"whole": 1}
    assert list(FORM.iter_errors(sent(world)[1])) == []


class Endpoint(BaseHTTPRequestHandler):
    """Takes events, as long as ``answers`` says so."""

    taken: ClassVar[list[dict[str, Any]]] = []
    keys: ClassVar[set[str | None]] = set()
    answer: ClassVar[Any] = None

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        code = type(self).answer(body)
        if code == 201:
            self.taken.append(body)
            self.keys.add(self.headers["Authorization"])
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    Endpoint.taken.clear()
    Endpoint.keys.clear()
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api/v1/lineage"
    server.shutdown()
    server.server_close()


def test_what_the_destination_does_not_take_waits_and_what_it_refuses_is_counted(
    world: World, endpoint: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lineage_sink.time, "sleep", lambda _: None)  # type: ignore[attr-defined]
    Driver(world).tick(SENSOR)
    expected = {(one["run"]["runId"], one["eventType"]) for one in sent(world)}
    settings, _ = load_settings(
        **{**world.settings.model_dump(exclude_unset=True), "openlineage_url": endpoint, "openlineage_api_key": KEY}
    )
    driver = Driver(replace(world, settings=settings))

    for code in (500, 302, 401):
        Endpoint.answer = lambda _, code=code: code
        assert driver.tick(SENSOR) == []
        assert f"0 materializations sent so far, 0 refused; the rest waits: answer {code}" in driver.told
    Endpoint.answer = lambda body: 201 if len(Endpoint.taken) < 7 else 503
    driver.tick(SENSOR)
    assert 0 < counted(driver).sent < 7
    assert counted(driver).failed_ticks == 4
    Endpoint.answer = lambda body: 422 if body["job"]["name"] == "item_pairs" else 201
    driver.tick(SENSOR)
    assert "the rest waits" not in driver.told
    assert counted(driver).refused == 3
    taken = {(one["run"]["runId"], one["eventType"]) for one in Endpoint.taken}
    left_out = {one["run"]["runId"] for one in sent(world) if one["job"]["name"].startswith("item_pairs")}
    assert taken == {one for one in expected if one[0] not in left_out}
    assert Endpoint.keys == {f"Bearer {KEY}"}
    said = "".join(capfd.readouterr())
    assert "item_pairs 2015-05-05 are refused and left out: answer 422" in said
    assert "OpenLineage events wait, 4 ticks failed so far: answer 503" in said
    assert KEY not in said
    assert endpoint not in said


def test_a_run_that_goes_on_is_told_when_it_has_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, whole = Driver(world), world.instance.get_run_by_id

    def goes_on(run_id: str) -> dg.DagsterRun | None:
        run = whole(run_id)
        return run and run.with_status(dg.DagsterRunStatus.STARTED)

    with monkeypatch.context() as patch:
        patch.setattr(world.instance, "get_run_by_id", goes_on)
        driver.tick(SENSOR)
    assert sent(world) == [], "its checks are not known yet"
    driver.tick(SENSOR)
    assert sent(world)


@pytest.mark.parametrize("bad", ["ftp://host/x", "lineage.ndjson", f"file://{KEY}/x", f"https:{KEY}"])
def test_an_address_of_another_kind_is_an_error_that_does_not_quote_it(bad: str) -> None:
    with pytest.raises(ValueError, match=r"^RECSYS_OPENLINEAGE_URL: expected file:///") as told:
        build_definitions(*load_settings(openlineage_url=bad))
    assert KEY not in str(told.value)
