"""A Spark session on EMR Serverless: an application made for the run and deleted after it, reached by Spark Connect."""

# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# pyspark comes with the extra 'spark' only.

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from dagster_aws.utils import ResourceWithBoto3Configuration

from recsys_assets.engines.spark_session import connect_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client import DefaultChannelBuilder

_NAME = "recsys-assets"
_IDLE_MINUTES = 15
"""What nobody uses stops by itself after that: the net below a run that was killed and could not tidy up."""

_WAIT_SECONDS = 900.0
_POLL_SECONDS = 5.0
_EARLY = timedelta(minutes=5)


class EmrServerlessResource(ResourceWithBoto3Configuration):
    """EMR Serverless with the credentials, region and endpoint that dagster-aws takes.

    Args:
        role_arn: IAM role that the session's Spark runs as.
        release: EMR release, such as ``emr-7.13.0``: the first whose applications hold sessions.
        image: container image with this package in it, in a registry that EMR may read; "" is EMR's own, which can do
            all but row functions.
    """

    role_arn: str = ""
    release: str = ""
    image: str = ""

    def client(self) -> Any:
        """The boto3 client."""
        session = boto3.Session(
            profile_name=self.profile_name,
            region_name=self.region_name,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
        )
        return session.client("emr-serverless", endpoint_url=self.endpoint_url, use_ssl=self.use_ssl)

    @contextmanager
    def session(self) -> Generator["SparkSession"]:
        """A session on an application of its own; both are gone afterwards.

        Raises:
            ValueError: a setting is missing.
            RuntimeError: EMR refused, or took too long.
        """
        for name, value in (("RECSYS_EMR_ROLE_ARN", self.role_arn), ("RECSYS_EMR_RELEASE", self.release)):
            if not value:
                raise ValueError(f"{name}: RECSYS_SPARK_CLUSTER=emr-serverless needs it, found nothing")
        client = self.client()
        with (
            self._application(client) as application,
            self._session(client, application) as session,
            connect_session(_channel(client, application, session)) as spark,
        ):
            yield spark

    @contextmanager
    def _application(self, client: Any) -> Generator[str]:
        response = client.create_application(
            name=_NAME,
            releaseLabel=self.release,
            type="SPARK",
            interactiveConfiguration={"sessionEnabled": True},
            autoStopConfiguration={"enabled": True, "idleTimeoutMinutes": _IDLE_MINUTES},
            **({"imageConfiguration": {"imageUri": self.image}} if self.image else {}),
        )
        application = response["applicationId"]

        def state() -> str:
            return client.get_application(applicationId=application)["application"]["state"]

        try:
            _await(f"application {application}", state, {"CREATED", "STARTED", "STOPPED"})
            client.start_application(applicationId=application)
            _await(f"application {application}", state, {"STARTED"})
            yield application
        finally:
            client.stop_application(applicationId=application)
            _await(f"application {application}", state, {"CREATED", "STOPPED"})
            client.delete_application(applicationId=application)

    @contextmanager
    def _session(self, client: Any, application: str) -> Generator[str]:
        started = client.start_session(
            applicationId=application,
            executionRoleArn=self.role_arn,
            idleTimeoutMinutes=_IDLE_MINUTES,
            name=_NAME,
        )
        session = started["sessionId"]

        def state() -> str:
            return client.get_session(applicationId=application, sessionId=session)["session"]["state"]

        try:
            _await(f"session {session}", state, {"STARTED", "IDLE"})
            yield session
        finally:
            client.terminate_session(applicationId=application, sessionId=session)
            _await(f"session {session}", state, {"TERMINATED", "FAILED"})


def _await(name: str, state: Callable[[], str], expected: set[str]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while (current := state()) not in expected:
        if current in {"FAILED", "TERMINATED"} or time.monotonic() > deadline:
            raise RuntimeError(f"EMR Serverless: {name}: expected {' or '.join(sorted(expected))}, found {current}")
        time.sleep(_POLL_SECONDS)


def _channel(client: Any, application: str, session: str) -> "DefaultChannelBuilder":
    """A channel to the session that renews its token: a run may last longer than one is good for."""
    from pyspark.sql.connect.client import DefaultChannelBuilder

    class Channel(DefaultChannelBuilder):
        def __init__(self, endpoint: str):
            super().__init__(endpoint)
            self._token, self._until = "", datetime.min.replace(tzinfo=UTC)

        def metadata(self) -> list[tuple[str, str]]:
            """What goes with each request."""
            if datetime.now(UTC) > self._until:
                endpoint = _endpoint(client, application, session)
                self._token, self._until = endpoint["authToken"], endpoint["authTokenExpiresAt"] - _EARLY
            return [*super().metadata(), ("x-aws-proxy-auth", self._token)]

    return Channel(address(_endpoint(client, application, session)["endpoint"]))


def _endpoint(client: Any, application: str, session: str) -> dict[str, Any]:
    return client.get_session_endpoint(applicationId=application, sessionId=session)


def address(endpoint: str) -> str:
    """The connection string of an endpoint, which AWS gives as a host or a web address."""
    if endpoint.startswith("sc://"):
        return endpoint
    parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    return f"sc://{parts.hostname}:{parts.port or 443}/;use_ssl=true"
