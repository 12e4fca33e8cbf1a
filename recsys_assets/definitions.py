"""The only place that wires: settings, resources, assets, jobs.

``defs`` is what Dagster loads. Tests and the command line build the same graph with other settings or resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource

from recsys_assets import jobs
from recsys_assets.assets import activity, catalog, events, ranking, retrieval, serving
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.core.dataset import Dataset
from recsys_assets.io_managers.parquet import ParquetIOManager
from recsys_assets.partitions import daily
from recsys_assets.resources.engine import EngineResource
from recsys_assets.resources.frames import FrameWriter
from recsys_assets.resources.landing import LandingResource
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings, load_settings

_GROUPS = (events, catalog, activity, retrieval, ranking, serving)


def build_resources(settings: Settings, dataset: Dataset) -> dict[str, Any]:
    """The resources of a deployment; nothing is opened yet."""
    ids = dataset.ids
    s3 = S3Resource()
    store = StoreResource(uri=settings.storage_uri, s3=s3)
    engine = EngineResource(name=settings.engine, store=store)
    return {
        "store": store,
        "engine": engine,
        "landing": LandingResource(
            uri=settings.landing_uri, dataset=settings.dataset, s3=s3, store=store, engine=engine
        ),
        "frames": FrameWriter(engine=engine, user_ids=ids.user, item_ids=ids.item),
        "io_manager": ParquetIOManager(store=store, engine=engine, user_ids=ids.user, item_ids=ids.item),
    }


def build_definitions(
    settings: Settings, dataset: Dataset, *, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The graph for given settings.

    Args:
        settings: see :class:`Settings`.
        dataset: the data set that the settings name.
        resources: replacements by name, for tests.
    """
    graph = GraphBuilder(settings, dataset, daily(settings, dataset))
    executor = dg.in_process_executor if settings.executor == "in_process" else dg.multiprocess_executor
    return dg.Definitions(
        assets=[asset for group in _GROUPS for asset in group.build(graph)],
        jobs=[jobs.history, jobs.examples, jobs.refresh, jobs.rollback_release, jobs.approve_release],
        resources={**build_resources(settings, dataset), **(resources or {})},
        executor=executor,
    )


defs = build_definitions(*load_settings())
