"""Builds the small world on Spark, in a process of its own: ``… -m recsys_assets_tests.spark.world FOLDER SAMPLE``."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg

from recsys_assets.engines.spark_session import master_session
from recsys_assets.engines.spark_standalone import ClusterSize, StandaloneCluster
from recsys_assets_tests.integration.world import World, make_world

SMALLER: dict[str, Any] = {"horizon_days": 1, "training_windows": 1, "tuning_trials": 1, "factors": 8}


def build(
    folder: Path, sample: Path, after_history: AbstractContextManager[None] | None = None, **settings: Any
) -> World:
    """Bring a world up to date with a sample.

    Args:
        folder: of the world.
        sample: the landing zone.
        after_history: entered after the first run, which makes the marts of all days, and around all others.
        settings: of the world.
    """
    with dg.instance_for_test() as instance:
        world = make_world(folder, instance, landing_uri=str(sample), **SMALLER, **settings)
        with world.materializer() as materializer:
            materializer.catch_up_history()
            with after_history or nullcontext():
                materializer.catch_up()
    return world


@contextmanager
def one_session(url: str) -> Generator[None]:
    """Runs share a session: each would pay for starting one and warming up its JVMs.

    Args:
        url: of the master.
    """
    opens = "recsys_assets.resources.spark_cluster.master_session"
    with master_session(url) as session, patch(opens, lambda _: nullcontext(session)):
        yield


if __name__ == "__main__":
    # One cluster for all runs, so that they join the master that their settings name and start no cluster of their own.
    cluster = StandaloneCluster(ClusterSize())
    try:
        os.environ.update(cluster.environment)
        # The first run opens and closes a session of its own, as any run outside the tests does.
        later = one_session(cluster.url)
        build(Path(sys.argv[1]), Path(sys.argv[2]), later, engine="spark", spark_cluster=cluster.url)
    finally:
        cluster.stop()
