"""MLflow without a server of its own: runs in PostgreSQL, files on S3."""

from __future__ import annotations

import boto3
import dagster as dg
import psycopg2
import pytest
from moto.server import ThreadedMotoServer

from recsys_assets.resources.tracking import Tracking, tracking_resource
from recsys_assets.settings import load_settings
from recsys_assets_tests.postgres_server import USER, postgres_server

pytestmark = pytest.mark.stack

PASSWORD = "a-password-of-mlflow"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}


def test_mlflow_records_in_postgresql_and_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient  # takes seconds, which other tests need not

    s3 = ThreadedMotoServer(port=0)
    s3.start()
    host, port = s3.get_host_and_port()
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="recsys")

    @dg.op
    def record(tracking: dg.ResourceParam[Tracking]) -> str:
        done = tracking.record("a run", {"partition": "2015-05-01"}, lambda mlflow: mlflow.log_text("yes", "note.txt"))
        assert done.problem is None
        return f"{done.run_id} at {tracking.address}"

    @dg.job
    def recording() -> None:
        record()

    with postgres_server(PASSWORD) as port:
        connection = psycopg2.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("create database mlflow")
        connection.close()
        uri = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/mlflow"
        settings, _ = load_settings(mlflow_tracking_uri=uri, mlflow_artifacts_uri="s3://recsys/mlflow")
        told = recording.execute_in_process(resources={"tracking": tracking_resource(settings)}).output_for_node(
            "record"
        )
        assert PASSWORD not in told
        run = MlflowClient(uri).get_run(told.split()[0])
        assert (run.info.status, run.data.tags["partition"]) == ("FINISHED", "2015-05-01")
        stored = boto3.client("s3").list_objects_v2(Bucket="recsys", Prefix="mlflow/")["Contents"]
        assert [item["Key"].rpartition("/")[2] for item in stored] == ["note.txt"]
    s3.stop()
