"""Spark Connect: a given server, and EMR Serverless, whose sessions are Connect servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import dagster as dg
import narwhals as nw
import pyarrow as pa
import pytest
from moto import mock_aws

from recsys_assets.core.models.als import AlsFitParams, fit_factors
from recsys_assets.definitions import build_resources
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.engines.spark import SparkEngine
from recsys_assets.engines.spark_session import connect_session
from recsys_assets.resources.emr_serverless import EmrServerlessResource, address
from recsys_assets.resources.engine import EngineResource
from recsys_assets.settings import load_settings
from recsys_assets_tests.engines.test_duckdb import mixed
from recsys_assets_tests.spark.connect_server import connect_server

ROLE = "arn:aws:iam::123456789012:role/spark"
NUMBERS = pa.table({"key": [1, 2, 3]})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with connect_server(tmp_path_factory.mktemp("connect")) as url:
        yield url


@pytest.mark.spark
def test_all_that_an_engine_does_works_over_connect(server: str, tmp_path: Path) -> None:
    table, local = mixed(1000), PolarsEngine()
    path, expected = tmp_path / "dt=2015-05-03" / "data.parquet", tmp_path / "expected.parquet"
    path.parent.mkdir()
    local.sink(local.from_arrow(table), expected, table.schema, ("word", "key"))
    with connect_session(server) as session:
        engine = SparkEngine(session)
        assert engine.sink(engine.from_arrow(table), path, table.schema, ("word", "key")) == 1000
        assert path.read_bytes() == expected.read_bytes()
        scanned = engine.scan([str(path)], table.schema)
        doubled = engine.map_batches(
            scanned.select("key"), lambda t: pa.table({"key": [2 * n.as_py() for n in t["key"]]}), NUMBERS.schema
        )
        assert doubled.select(nw.col("key").sum()).collect(backend="polars").item() == 999 * 1000
        pairs = pa.table({"user_id": [1, 1, 2, 2], "item_id": ["a", "b", "b", "c"], "weight": [1.0, 2.0, 3.0, 1.0]})
        fitted = fit_factors(engine, engine.from_arrow(pairs), AlsFitParams(factors=2, iterations=1, min_item_users=1))
        assert fitted["item_id"].to_pylist() == ["a", "b", "c"]


@pytest.mark.spark
def test_a_run_joins_the_server_that_the_settings_name(server: str, tmp_path: Path) -> None:
    found: list[int] = []

    @dg.asset(io_manager_key="memory")
    def add(engine: EngineResource) -> None:
        frame = engine.open().from_arrow(NUMBERS)
        found.append(frame.select(nw.col("key").sum()).collect(backend="polars").item())

    stated = {"engine": "spark", "spark_cluster": server, "storage_uri": str(tmp_path), "landing_uri": str(tmp_path)}
    resources = build_resources(*load_settings(**stated))
    assert dg.materialize([add], resources={**resources, "memory": dg.mem_io_manager}).success
    assert found == [6]


class Emr:
    """moto's EMR Serverless, and answers to the calls about sessions, which moto does not know.

    botocore checks the calls against AWS's own model before it asks for the answer.
    """

    def __init__(self, endpoint: str, state: str = "STARTED"):
        self.client = boto3.client("emr-serverless", region_name="eu-west-1")
        self.calls: list[str] = []
        self._state = state
        self._answer("StartSession", lambda: {"applicationId": "a", "sessionId": "s1", "arn": "arn"})
        self._answer("GetSession", lambda: {"session": {"state": self._state}})
        self._answer("TerminateSession", self._terminate)
        # A token that is as good as gone: each request has to get a new one.
        soon = datetime.now(UTC) + timedelta(minutes=1)
        self._answer("GetSessionEndpoint", lambda: {"endpoint": endpoint, "authToken": "t", "authTokenExpiresAt": soon})

    def applications(self) -> list[str]:
        return [one["state"] for one in self.client.list_applications()["applications"]]

    def _answer(self, operation: str, answer: Callable[[], dict[str, Any]]) -> None:
        def called(**_: Any) -> tuple[Any, dict[str, Any]]:
            self.calls.append(operation)
            return SimpleNamespace(status_code=200), answer()

        self.client.meta.events.register(f"before-call.emr-serverless.{operation}", called)

    def _terminate(self) -> dict[str, Any]:
        self._state = "TERMINATED"
        return {}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield


def resource(emr: Emr, monkeypatch: pytest.MonkeyPatch) -> EmrServerlessResource:
    monkeypatch.setattr(EmrServerlessResource, "client", lambda _: emr.client)
    return EmrServerlessResource(role_arn=ROLE, release="emr-7.13.0", image="registry.example/recsys:1")


@pytest.mark.spark
@pytest.mark.usefixtures("aws")
def test_an_application_of_emr_lives_as_long_as_its_session(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    emr = Emr(server)
    made = resource(emr, monkeypatch)

    def step(session: Any) -> None:
        assert emr.applications() == ["STARTED"]
        frame = SparkEngine(session, shares_disk=False).from_arrow(NUMBERS)
        assert frame.select(nw.col("key").sum()).collect(backend="polars").item() == 6
        assert emr.calls.count("GetSessionEndpoint") > 2
        assert "TerminateSession" not in emr.calls
        raise LookupError("a step failed")

    with pytest.raises(LookupError, match="a step failed"), made.session() as session:
        step(session)
    assert emr.calls.count("TerminateSession") == 1
    assert emr.applications() == ["TERMINATED"]


@pytest.mark.usefixtures("aws")
def test_nothing_is_left_at_emr_where_the_session_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    emr = Emr("https://nowhere.example", state="FAILED")
    made = resource(emr, monkeypatch)
    with pytest.raises(RuntimeError, match="session s1: expected IDLE or STARTED, found FAILED"), made.session():
        pass
    assert emr.calls.count("TerminateSession") == 1
    assert emr.applications() == ["TERMINATED"]


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://s1.s.emr-serverless-services.eu-west-1.amazonaws.com", "sc://s1.s.emr-serverless-services.eu-west-1"),
        ("s1.example:8443", "sc://s1.example:8443"),
        ("sc://127.0.0.1:15002", "sc://127.0.0.1:15002"),
    ],
)
def test_an_endpoint_becomes_a_connection_string(endpoint: str, expected: str) -> None:
    assert address(endpoint).startswith(expected)
    assert address(endpoint).endswith("/;use_ssl=true") != endpoint.startswith("sc://")


def test_what_is_missing_or_wrong_is_named() -> None:
    with pytest.raises(ValueError, match="RECSYS_EMR_ROLE_ARN"), EmrServerlessResource().session():
        pass
    with pytest.raises(ValueError, match="RECSYS_EMR_RELEASE"), EmrServerlessResource(role_arn=ROLE).session():
        pass
    with pytest.raises(ValueError, match="RECSYS_SPARK_CLUSTER"):
        load_settings(spark_cluster="yarn")
