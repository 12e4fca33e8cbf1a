"""Assembles the code location: settings, resources, assets, jobs, sensors and schedules.

Dagster loads ``defs``. Tests and the command line build the same graph with other settings or resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource

from recsys_assets import jobs
from recsys_assets.assets import (
    activity,
    backtest,
    candidates,
    catalog,
    events,
    experiment_comparison,
    experiment_gate,
    experiments,
    explanations,
    feedback,
    insight,
    promotion,
    ranking,
    recommendations_table,
    release,
    retrieval,
    served,
    serving,
    tracking,
)
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.stated import stated_of
from recsys_assets.automation.dead_runs_sensor import dead_runs_sensor
from recsys_assets.automation.decisions import Rebuild, acknowledge_job
from recsys_assets.automation.experiments_sensor import experiments_sensor
from recsys_assets.automation.freshness import freshness_checks, freshness_sensor
from recsys_assets.automation.landing_sensor import landing_sensor
from recsys_assets.automation.notifications import notification_sensors
from recsys_assets.automation.openlineage_sensor import openlineage_sensor
from recsys_assets.automation.policy import as_of_policy, automation_sensor
from recsys_assets.automation.prune import prune_job, prune_schedule
from recsys_assets.automation.rebuild import Looks, as_of_assets, rebuild_job
from recsys_assets.automation.runs import InProcessRunner
from recsys_assets.automation.schedules import daily_schedules
from recsys_assets.automation.settings_sensor import settings_check, settings_sensor
from recsys_assets.automation.staleness import marts_of
from recsys_assets.automation.table_sensor import table_job, table_sensor
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.environment import folders_of
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.erasure.job import erase_job
from recsys_assets.erasure.sensor import erasure_sensor
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.parquet import ParquetIOManager
from recsys_assets.partitions import daily
from recsys_assets.resources.engine import EngineOptions, EngineResource
from recsys_assets.resources.landing import LandingResource
from recsys_assets.resources.notifier import notifier_of
from recsys_assets.resources.spark_cluster import spark_cluster
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import tracking_resource
from recsys_assets.settings import Settings, load_settings
from recsys_assets.storage.identity import Identity
from recsys_assets.storage.objects import canonical_json
from recsys_assets.storage.stated import Stated

_GROUPS = (
    events,
    catalog,
    activity,
    feedback,
    retrieval,
    candidates,
    ranking,
    promotion,
    served,
    serving,
    explanations,
    release,
    recommendations_table,
    tracking,
    insight,
    backtest,
    experiments,
    experiment_gate,
    experiment_comparison,
)


def build_resources(
    settings: Settings,
    dataset: Dataset,
    registry: GeneratorRegistry | None = None,
    stated: Stated | None = None,
) -> dict[str, Any]:
    """The resources of a deployment; nothing is opened yet.

    Args:
        settings: as for :func:`build_definitions`.
        dataset: likewise.
        registry: likewise.
        stated: what decides the bytes of the assets; by default it is found out from the graph.
    """
    registry = registry or GeneratorRegistry.installed()
    stated = stated or stated_of_graph(settings, dataset, registry)
    ids = dataset.ids
    generators = list(registry.names)
    s3 = S3Resource()
    store = StoreResource(
        uri=settings.storage_uri,
        s3=s3,
        identity=Identity(dataset.name, ids.user, ids.item).to_json(),
        stated=canonical_json(stated.document()).decode(),
    )
    # Configured at launch so that the two resources below share it: all frames of a run must be on one engine.
    engine = EngineResource.configure_at_launch(
        options=EngineOptions(
            name=settings.engine, memory_limit=settings.memory_limit, spill_folder=settings.spill_folder
        ),
        store=store,
        spark=spark_cluster(settings),
    )
    return {
        "store": store,
        "engine": engine,
        "landing": LandingResource(
            uri=settings.landing_uri,
            dataset=settings.dataset,
            links=folders_of(settings.landing_links),
            deleted_share=settings.deleted_share,
            s3=s3,
            store=store,
            engine=engine,
        ),
        "tracking": tracking_resource(settings),
        "frames": FrameWriter(engine=engine, user_ids=ids.user, item_ids=ids.item, generators=generators),
        "io_manager": ParquetIOManager(
            store=store, engine=engine, user_ids=ids.user, item_ids=ids.item, generators=generators
        ),
    }


def build_definitions(
    settings: Settings,
    dataset: Dataset,
    *,
    resources: Mapping[str, Any] | None = None,
    registry: GeneratorRegistry | None = None,
    standalone: bool = True,
) -> dg.Definitions:
    """The graph for given settings.

    Args:
        settings: see :class:`Settings`.
        dataset: the data set that the settings name.
        resources: replacements by name, for tests.
        registry: the generators; None for the built-in ones and those of installed packages.
        standalone: whether it is all of its code location; False: a project of others merges it into its own, whose
            executor runs the steps.

    Raises:
        ValueError: a setting or an entry point of a package names an invalid generator.
    """
    on = settings.automation
    registry = registry or GeneratorRegistry.installed()
    graph = GraphBuilder(settings, dataset, daily(settings, dataset), registry, as_of_policy(settings) if on else None)
    assets = assets_of(graph)
    stated = stated_of(settings, dataset, [spec for asset in assets for spec in specs_of(asset)], registry)
    names = graph.names
    marts = marts_of((spec for asset in assets for spec in specs_of(asset)), names)

    def runner_on(instance: dg.DagsterInstance) -> InProcessRunner:
        # Built when a job runs: the graph of its own runs has the same settings.
        definitions = build_definitions(settings, dataset, registry=registry)
        return InProcessRunner(definitions, instance, settings.storage_uri, names)

    def rebuild_on(instance: dg.DagsterInstance) -> Rebuild:
        return runner_on(instance).rebuild

    executor = dg.in_process_executor if settings.executor == "in_process" else dg.multiprocess_executor
    looks = Looks(settings, graph.partitions, marts, as_of_assets(assets, names))
    built = jobs.build(names)
    return dg.Definitions(
        assets=assets,
        asset_checks=[settings_check(looks), *freshness_checks(settings)],
        jobs=[
            *built.values(),
            prune := prune_job(settings),
            rebuild_job(looks, runner_on),
            erase_job(settings, dataset, rebuild_on),
            acknowledge_job(settings, dataset, rebuild_on),
            *table_job(settings),
        ],
        sensors=[
            *(
                [
                    landing_sensor(graph.partitions, settings, marts, built),
                    settings_sensor(looks),
                    automation_sensor(settings),
                    experiments_sensor(settings, registry.names, built[jobs.TRAIN_EXPERIMENT]),
                    erasure_sensor(settings),
                    dead_runs_sensor(names),
                    freshness_sensor(settings),
                    *table_sensor(settings),
                    *openlineage_sensor(graph),
                ]
                if on
                else []
            ),
            *notification_sensors(notifier_of(settings), names),
        ],
        schedules=[*daily_schedules(graph.partitions, settings, marts, built), prune_schedule(prune, names)]
        if on
        else [],
        resources={
            names(name): resource
            for name, resource in {**build_resources(settings, dataset, registry, stated), **(resources or {})}.items()
        },
        executor=executor if standalone else None,
    )


def assets_of(graph: GraphBuilder) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of all groups."""
    return [asset for group in _GROUPS for asset in group.build(graph)]


def stated_of_graph(settings: Settings, dataset: Dataset, registry: GeneratorRegistry) -> Stated:
    """What decides the bytes of the assets of a graph."""
    graph = GraphBuilder(settings, dataset, daily(settings, dataset), registry)
    return stated_of(settings, dataset, [spec for asset in assets_of(graph) for spec in specs_of(asset)], registry)


def specs_of(asset: dg.AssetsDefinition | dg.AssetSpec) -> list[dg.AssetSpec]:
    """What is declared of the assets of a definition."""
    return [asset] if isinstance(asset, dg.AssetSpec) else list(asset.specs)


defs = build_definitions(*load_settings())
