"""Builds the small world on Spark, in a process of its own: ``… -m recsys_assets_tests.spark.world FOLDER SAMPLE``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from recsys_assets.engines.spark_standalone import ClusterSize, StandaloneCluster
from recsys_assets_tests.integration.world import World, make_world

SMALLER: dict[str, Any] = {"horizon_days": 1, "training_windows": 1, "tuning_trials": 1, "factors": 8}


def build(folder: Path, sample: Path, **settings: Any) -> World:
    """Bring a world up to date with a sample."""
    with dg.instance_for_test() as instance:
        world = make_world(folder, instance, landing_uri=str(sample), **SMALLER, **settings)
        with world.materializer() as materializer:
            materializer.catch_up()
    return world


if __name__ == "__main__":
    # One cluster for all runs, so that each joins the master that its settings name and starts no cluster of its own.
    cluster = StandaloneCluster(ClusterSize())
    try:
        os.environ.update(cluster.environment)
        build(Path(sys.argv[1]), Path(sys.argv[2]), engine="spark", spark_cluster=cluster.url)
    finally:
        cluster.stop()
