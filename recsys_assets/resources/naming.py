"""How all that a graph declares in Dagster is named, so that the graphs of several data sets fit into one project.

Without a prefix names are as written in the code. With the prefix ``shop/de`` the asset ``release`` has the key
``shop/de/release``, and jobs, sensors, schedules, pools, groups and resources are named like ``shop__de__refresh``. The
store knows assets by their bare names: each data set has a store of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, get_type_hints

import dagster as dg

from recsys_assets.settings import Settings

RESOURCES = frozenset({"store", "engine", "landing", "tracking", "frames", "io_manager"})
"""The resources of a graph, as its functions name them in their parameters."""
_GRAIN = "recsys/grain"


@dataclass(frozen=True)
class Names:
    """The names of one graph.

    Attributes:
        prefix: parts of the prefix, such as ``("shop", "de")``; empty for flat keys.
    """

    prefix: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Names:
        """The names that the settings ask for."""
        return cls(tuple(settings.key_prefix.split("/")) if settings.key_prefix else ())

    def __call__(self, name: str) -> str:
        """The name of anything but an asset: a job, sensor, schedule, pool, group, op or resource."""
        return "__".join((*self.prefix, name))

    def key(self, asset: str) -> dg.AssetKey:
        """The key of an asset."""
        return dg.AssetKey([*self.prefix, asset])

    def assets(self, *names: str) -> dg.AssetSelection:
        """A selection of assets by name."""
        return dg.AssetSelection.assets(*map(self.key, names))

    @property
    def grain(self) -> str:
        """The tag that says what an asset's partitions depend on; each graph has its own."""
        return ".".join((_GRAIN, *self.prefix))

    def bind(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with its resource parameters renamed: Dagster looks resources up by the parameters' names."""
        if not self.prefix:
            return function
        signature, hints = inspect.signature(function), get_type_hints(function, include_extras=True)
        renamed = {self(name): name for name in signature.parameters if name in RESOURCES}
        parameters = [
            parameter.replace(
                name=self(name) if name in RESOURCES else name, annotation=hints.get(name, parameter.annotation)
            )
            for name, parameter in signature.parameters.items()
        ]

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **{renamed.get(name, name): value for name, value in kwargs.items()})

        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return call

    def job(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        description: str,
        pool: str | None = None,
        out: dg.Out | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dg.JobDefinition:
        """A job of one op, which has its bare name within the job: its configuration is the same for every prefix.

        Args:
            name: of the job.
            function: the op, with resources of the graph as parameters.
            description: of the job.
            pool: of the op.
            out: of the op.
            tags: of the job's runs.
        """
        op = dg.op(name=self(function.__name__), pool=self(pool) if pool else None, out=out)(self.bind(function))

        @dg.job(name=self(name), description=description, tags=tags)
        def job() -> None:
            op.alias(function.__name__)()

        return job

    def is_foreign(self, run: dg.DagsterRun) -> bool:
        """Whether a run is surely about assets of others; nothing is sure where keys are flat."""
        selected = run.asset_selection
        return bool(self.prefix and selected) and not any(map(self.is_ours, selected or ()))

    def is_own(self, run: dg.DagsterRun) -> bool:
        """Whether a run is of a job or of assets of this graph; where keys are flat, every run is."""
        return run.job_name.startswith(self("")) or any(map(self.is_ours, run.asset_selection or ()))

    def is_ours(self, key: dg.AssetKey) -> bool:
        """Whether a key has this prefix and no more."""
        return tuple(key.path[:-1]) == self.prefix


def asset_name(key: dg.AssetKey) -> str:
    """The bare name of an asset, by which the store, contracts and settings know it."""
    return key.path[-1]
