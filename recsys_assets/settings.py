"""Every setting of the platform: environment variables ``RECSYS_<NAME>``, with defaults that serve a laptop.

A data set may bring its own defaults (``[defaults]`` in its ``dataset.toml``): gifts are bought again after months,
films are news for days. What the environment states wins, then the data set, then the defaults below.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from recsys_assets.core.dataset import Dataset, DatasetError, load_dataset
from recsys_assets.core.environment import (
    PREFIX,
    absolute_uri,
    explain_variables,
    read_env_file,
    reject_renamed,
    unknown_variables,
)
from recsys_assets.core.faults import did_you_mean
from recsys_assets.core.settings.connections import ConnectionSettings
from recsys_assets.core.settings.data import DataSettings
from recsys_assets.core.settings.learning import LearningSettings
from recsys_assets.core.settings.lists import ListSettings
from recsys_assets.core.settings.runs import RunSettings
from recsys_assets.core.settings.windows import WindowSettings

RENAMED: Mapping[str, str] = {"exclude_bought": "exclude_purchased"}
"""Settings that had another name once, by that name. The old name is an error, so that it is not ignored silently."""


class Settings(ConnectionSettings, LearningSettings, ListSettings, WindowSettings, RunSettings, DataSettings):
    """Settings, read from ``RECSYS_*``; unknown values and out-of-range numbers are errors that name the variable.

    Each section of ``core/settings`` declares its fields; Pydantic takes those of the last base first.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    @property
    def first_day(self) -> date:
        """The first day of the graph; :func:`load_settings` fills it in."""
        if self.start_date is None:
            raise ValueError("RECSYS_START_DATE is not set: take settings from load_settings, which asks the data set")
        return self.start_date


def load_settings(**overrides: Any) -> tuple[Settings, Dataset]:
    """The settings of this process and the data set that they name.

    Raises:
        ValueError: naming each variable or key of the data set at fault, a line each.
    """
    read_env_file()
    reject_renamed((name for name in os.environ if name.upper().startswith(PREFIX)), RENAMED, PREFIX)
    faults = unknown_variables(Settings.model_fields, of_the_api=False)
    try:
        explicit = Settings(**overrides)
    except ValidationError as error:
        raise ValueError("\n".join([*faults, *explain_variables(error, PREFIX)])) from None
    if faults:
        raise ValueError("\n".join(faults))
    try:
        dataset = load_dataset(explicit.dataset)
    except DatasetError as error:
        raise ValueError(f"RECSYS_DATASET: {error}") from error
    reject_renamed(dataset.defaults, RENAMED, where=f"data set {dataset.name!r}: [defaults]: ")
    if unknown := sorted(set(dataset.defaults) - set(Settings.model_fields)):
        known = Settings.model_fields
        raise ValueError(
            "\n".join(
                f"data set {dataset.name!r}: [defaults]: {name}: is not a setting{did_you_mean(name, known)}"
                for name in unknown
            )
        )
    completed: dict[str, Any] = {k: v for k, v in dataset.defaults.items() if k not in explicit.model_fields_set}
    completed["landing_uri"] = absolute_uri(explicit.landing_uri or f"data/landing/{dataset.name}")
    if explicit.landing_links and completed["landing_uri"].startswith("s3://"):
        raise ValueError("RECSYS_LANDING_LINKS: a landing zone on S3 has no links")
    completed["storage_uri"] = absolute_uri(explicit.storage_uri or f"data/store/{dataset.name}")
    completed |= _mlflow(explicit, dataset.name, completed["storage_uri"])
    completed["tuning_storage_uri"] = _tuning(explicit, dataset.name, completed["storage_uri"])
    completed["start_date"] = explicit.start_date or dataset.start_date
    completed["end_date"] = explicit.end_date or dataset.end_date
    try:
        settings = Settings(**{**overrides, **completed})
    except ValidationError as error:
        where = f"data set {dataset.name!r}: [defaults]: "
        raise ValueError("\n".join(where + fault for fault in explain_variables(error))) from None
    _expect_categories(settings, dataset)
    return settings, dataset


def _expect_categories(settings: Settings, dataset: Dataset) -> None:
    """Fail where a rule of the lists is asked for that would never do anything."""
    if dataset.properties is not None and "category" in dataset.properties.names:
        return
    for name in ("category_cap", "diversity"):
        if getattr(settings, name):
            raise ValueError(
                f"RECSYS_{name.upper()}: data set {dataset.name!r} states no categories of its items "
                "(properties.names.category), so that lists cannot vary in them"
            )


def _mlflow(explicit: Settings, name: str, storage_uri: str) -> dict[str, Any]:
    """Where MLflow records and keeps files; a server decides by itself where files go."""
    tracking = explicit.mlflow_tracking_uri.get_secret_value()
    artifacts = explicit.mlflow_artifacts_uri
    if not artifacts and not tracking.startswith("http"):
        artifacts = f"{storage_uri}/mlflow"
    return {
        "mlflow_tracking_uri": SecretStr(tracking or f"sqlite:///{Path('data/mlflow').resolve() / f'{name}.db'}"),
        "mlflow_artifacts_uri": absolute_uri(artifacts) if artifacts else "",
        "mlflow_experiment": explicit.mlflow_experiment or name,
    }


def _tuning(explicit: Settings, name: str, storage_uri: str) -> SecretStr:
    """Where searches are kept: beside the assets, as far as that is a folder of this machine."""
    uri = explicit.tuning_storage_uri.get_secret_value()
    if not uri:
        uri = f"{storage_uri}/tuning" if storage_uri.startswith("file://") else f"data/tuning/{name}"
    return SecretStr(uri if uri == "memory" else absolute_uri(uri))
