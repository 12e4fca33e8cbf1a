"""The whole graph with landing zone and store on S3: not one byte differs from a run on local files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import dagster as dg
import pytest

from recsys_assets_tests.automation.driver import FAST, Driver
from recsys_assets_tests.automation.test_experiments_sensor import Experiments
from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.test_graph import copy_of
from recsys_assets_tests.integration.world import World, make_world
from recsys_assets_tests.s3_servers import S3Server, boto3_client, with_new_bucket


@pytest.fixture(params=["moto"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server with an empty bucket that only the environment names, as in a deployment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    started = with_new_bucket(request.getfixturevalue(request.param))
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(started.options.endpoint))
    monkeypatch.setenv("AWS_DEFAULT_REGION", str(started.options.region))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(started.options.access_key_id))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(started.options.secret_access_key))
    return started


def test_s3_and_local_files_give_the_same_bytes(
    built: World, sample: Path, server: S3Server, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    client = boto3_client(server.options)
    for path in sorted(sample.iterdir()):
        client.upload_file(str(path), server.bucket, f"drop/here/{path.name}")
    root = f"s3://{server.bucket}"
    world = make_world(tmp_path, instance, landing_uri=f"{root}/drop/here", storage_uri=f"{root}/lake/store")

    with world.materializer() as materializer:
        assert materializer.catch_up() == DAY

    store = world.store.open()
    stored = {one.key: hashlib.sha256(store.get(one.key)).hexdigest() for one in store.list()}
    assert data_files(stored) == data_files(built.hashes("assets", "releases"))
    here, there = (one.store.releases().current() for one in (world, built))
    assert here is not None
    assert here == there
    assert not (tmp_path / "store").exists()

    with world.materializer() as materializer:
        materializer.catch_up()
    assert {one.key: one.etag for one in store.list()}.keys() == stored.keys()
    assert world.store.releases().current() == here


@pytest.mark.parametrize("server", ["moto", pytest.param("ceph", marks=pytest.mark.s3_real)], indirect=True)
def test_a_day_that_lands_on_s3_moves_the_graph_by_itself(
    sample: Path, server: S3Server, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    client = boto3_client(server.options)
    header, *rows = (sample / "events.csv").read_bytes().splitlines()
    root = f"s3://{server.bucket}"
    driver = Driver(
        make_world(tmp_path, instance, landing_uri=f"{root}/drop", storage_uri=f"{root}/lake", deleted_share=1, **FAST)
    )

    def put(day: str, seconds: int) -> None:
        of_day = [row for row in rows if seconds <= int(row.split(b",")[0]) // 1000 < seconds + 86400]
        client.put_object(Bucket=server.bucket, Key=f"drop/events_{day}.csv", Body=b"\n".join([header, *of_day]))

    for day, seconds in (("2015-05-03", 1430622000), ("2015-05-04", 1430708400)):
        put(day, seconds)
        assert driver.land() == ["stage_landing", f"history {day}"]
        assert [str(run) for run in driver.follow()] == [f"as_of {day}"]
        pointer = driver.world.store.releases().current()
        assert pointer is not None
        assert pointer.as_of == day
    client.delete_object(Bucket=server.bucket, Key="drop/events_2015-05-03.csv")
    assert driver.land() == ["stage_landing", "history 2015-05-03"]
    assert driver.land() == []


def test_an_experiment_that_lands_on_s3_becomes_a_model_and_goes_with_its_file(
    built: World, server: S3Server, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    client = boto3_client(server.options)
    world = copy_of(built, tmp_path, instance)
    world.settings = world.settings.model_copy(update={"landing_uri": f"s3://{server.bucket}/drop"})
    texts = {"order": b"model: generator\nparams: {by: popular}\n", "bad": b"model: generator\nparams: {by: luck}\n"}
    for name, text in texts.items():
        client.put_object(Bucket=server.bucket, Key=f"drop/experiments/{name}.yaml", Body=text)
    sensor = Experiments(world)
    assert sensor.settle() == ["order"]
    assert sensor.told.startswith("experiments/bad.yaml:2: params.by: ")
    job = world.definitions().resolve_job_def("train_experiment")
    assert job.execute_in_process(instance=instance, partition_key="order").success
    made = world.lineage("experiment_model.order", DAY)
    assert made.params["config_sha256"] == hashlib.sha256(texts["order"]).hexdigest()
    client.delete_object(Bucket=server.bucket, Key="drop/experiments/order.yaml")
    assert sensor.settle() == []
    assert sensor.partitions == []


def data_files(hashes: dict[str, str]) -> dict[str, str]:
    """Without what names the landing files by address: the lineage and staging (releases name neither)."""
    return {
        key: value
        for key, value in hashes.items()
        if key.startswith(("assets/", "releases/")) and not key.endswith("_lineage.json") and "/." not in key
    }
