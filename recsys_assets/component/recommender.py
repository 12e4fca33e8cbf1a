"""The graph as a component of any ``dg`` project: ``type: recsys_assets.RecommenderComponent`` in a ``defs.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import Field

from recsys_assets.core.dataset import presets
from recsys_assets.definitions import build_definitions
from recsys_assets.settings import load_settings


class Scaffold(dg.Scaffolder[Any]):
    """Writes a ``defs.yaml`` that loads as it is: the place of files is named after the component."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write it."""
        name = request.target_path.name
        attributes = {
            "dataset": "retailrocket",
            "landing": f"data/landing/{name}",
            "storage": f"data/store/{name}",
            "engine": "polars",
            "key_prefix": name,
            "settings": {},
        }
        dg.scaffold_component(request, attributes)


@dg.scaffold_with(Scaffold)
class RecommenderComponent(dg.Component, dg.Model, dg.Resolvable):
    """A recommender for one data set: assets from raw events to releases, with their jobs, sensors and schedules."""

    dataset: Annotated[str, Field(description="preset, or path of a dataset.toml from the folder of the component")]
    landing: Annotated[str, Field(description="where event files arrive: a path from the project's root, or a URI")]
    storage: Annotated[str, Field(description="where assets and releases are kept: likewise; each data set its own")]
    engine: Literal["polars", "duckdb", "spark"] = "polars"
    key_prefix: Annotated[
        str, Field(description="before all asset keys, such as shop/de; no two may have the same")
    ] = ""
    settings: Annotated[
        Mapping[str, Any], Field(description="further settings by name, such as horizon_days; they win over RECSYS_*")
    ] = {}

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The graph.

        Raises:
            ValueError: an attribute or a setting is at fault; names it.
        """
        stated = {"engine": self.engine, "key_prefix": self.key_prefix}
        if twice := sorted({"dataset", "landing_uri", "storage_uri", *stated} & self.settings.keys()):
            raise ValueError(f"{context.path}: settings: {', '.join(twice)}: stated by an attribute of the component")
        settings, dataset = load_settings(
            dataset=self.dataset if self.dataset in presets() else str(_under(context.path, self.dataset)),
            landing_uri=_uri(context.project_root, self.landing),
            storage_uri=_uri(context.project_root, self.storage),
            **stated,
            **self.settings,
        )
        return build_definitions(settings, dataset, standalone=False)


def _under(folder: Path, path: str) -> Path:
    """A path that is relative to a folder, or to the folder of a file."""
    return (folder if folder.is_dir() else folder.parent) / path


def _uri(root: Path, uri: str) -> str:
    return uri if "://" in uri else str(root / uri)
