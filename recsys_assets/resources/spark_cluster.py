"""The Spark cluster of a run: made or joined when first asked for, let go of when the run ends, however it ends."""

import contextlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import PrivateAttr

from recsys_assets.engines.spark_session import connect_session, master_session, standalone_session
from recsys_assets.engines.spark_standalone import ClusterSize
from recsys_assets.resources.emr_serverless import EmrServerlessResource
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports] the extra 'spark'

LOCAL, EMR = "local-standalone", "emr-serverless"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class SparkClusterResource(dg.ConfigurableResource[Any]):
    """Gives the run's session on the cluster that ``cluster`` names.

    Args:
        cluster: ``local-standalone`` (processes of this machine), ``spark://host:port`` (a master), ``sc://host:port``
            (a Spark Connect server) or ``emr-serverless``.
        workers: of ``local-standalone``, with one core each.
        memory: of each of them.
        emr: makes the session of ``emr-serverless``.
    """

    cluster: str = LOCAL
    workers: int = 2
    memory: str = "2g"
    emr: dg.ResourceDependency[EmrServerlessResource]
    _session: Any = PrivateAttr(default=None)
    _held: contextlib.ExitStack | None = PrivateAttr(default=None)

    def session(self) -> "SparkSession":
        """The session of this run; opened once."""
        if self._session is None:
            with contextlib.ExitStack() as stack:
                self._session = stack.enter_context(self._open())
                self._held = stack.pop_all()
        return self._session

    @property
    def shares_disk(self) -> bool:
        """Whether the cluster sees this machine's files."""
        return self.cluster == LOCAL or urlsplit(self.cluster).hostname in _LOOPBACK

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close the session and end what was started for it, also where a step failed or the run was cancelled."""
        stack, self._held, self._session = self._held, None, None
        if stack is not None:
            stack.close()

    def _open(self) -> AbstractContextManager["SparkSession"]:
        if self.cluster == LOCAL:
            return standalone_session(ClusterSize(self.workers, self.memory))
        if self.cluster == EMR:
            return self.emr.session()
        if self.cluster.startswith("sc://"):
            return connect_session(self.cluster)
        if self.cluster.startswith("spark://"):
            return master_session(self.cluster)
        raise ValueError(
            f"RECSYS_SPARK_CLUSTER: expected {LOCAL!r}, {EMR!r}, 'spark://host:port' or 'sc://host:port', "
            f"found {self.cluster!r}"
        )


def spark_cluster(settings: Settings) -> SparkClusterResource:
    """The cluster that the settings name; nothing is started yet."""
    return SparkClusterResource(
        cluster=settings.spark_cluster,
        workers=settings.spark_workers,
        memory=settings.spark_memory,
        emr=EmrServerlessResource(
            role_arn=settings.emr_role_arn, release=settings.emr_release, image=settings.emr_image
        ),
    )
