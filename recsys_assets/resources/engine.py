"""The engine of this run, as a resource."""

from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from recsys_assets.core.engine import Engine
from recsys_assets.engines.open import EngineName, open_engine
from recsys_assets.resources.spark_cluster import SparkClusterResource
from recsys_assets.resources.store import StoreResource


class EngineOptions(dg.ConfigurableResource[Any]):
    """Which engine, and how much memory it may take; see :func:`~recsys_assets.engines.open.open_engine`."""

    name: EngineName = "polars"
    memory_limit: str = ""
    spill_folder: str = ""


class EngineResource(dg.ConfigurableResource[Any]):
    """Makes the engine that the settings name, with the credentials of the store.

    All frames of a run live on one engine, so all who need it have to be given one and the same resource: Dagster
    copies a nested resource for each of its owners, except those made by ``configure_at_launch``. Those take their
    plain fields from the run's config or the class and nowhere else, so all that is chosen lies in resources below.
    """

    options: dg.ResourceDependency[EngineOptions]
    store: dg.ResourceDependency[StoreResource]
    spark: dg.ResourceDependency[SparkClusterResource]
    _engine: Engine | None = PrivateAttr(default=None)

    def open(self) -> Engine:
        """The engine of this run, ready to scan the store's files; opened once."""
        if self._engine is None:
            options = self.options
            self._engine = open_engine(
                options.name,
                self.store.open().storage_options,
                memory_limit=options.memory_limit,
                spill_folder=options.spill_folder,
                session=self.spark.session() if options.name == "spark" else None,
                shares_disk=self.spark.shares_disk,
            )
        return self._engine

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close the engine, and remove what it spilled, also where a step failed."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
