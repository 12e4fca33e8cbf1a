"""The engine of this run, as a resource."""

from typing import Any

import dagster as dg

from recsys_assets.engines.base import Engine
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.resources.store import StoreResource


class EngineResource(dg.ConfigurableResource[Any]):
    """Makes the engine that the settings name, with the credentials of the store."""

    name: str = "polars"
    store: dg.ResourceDependency[StoreResource]

    def open(self) -> Engine:
        """The engine, ready to scan the store's files."""
        return PolarsEngine(self.store.open().storage_options)
