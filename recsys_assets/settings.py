"""Every setting of the platform: environment variables ``RECSYS_<NAME>``, with defaults that serve a laptop.

A data set may bring its own defaults (``[defaults]`` in its ``dataset.toml``): gifts are bought again after months,
films are news for days. What the environment states wins, then the data set, then the defaults below.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys_assets.core.dataset import Dataset, load_dataset


def _days(default: int, about: str) -> Any:
    return Field(default, ge=1, le=3650, description=about)


def _half_life(default: float, about: str) -> Any:
    return Field(default, gt=0, le=3650, description=f"days in which an event's weight halves for {about}")


class Settings(BaseSettings):
    """Settings, read from ``RECSYS_*``; unknown values and out-of-range numbers are errors that name the variable."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_", frozen=True, extra="forbid")

    dataset: str = Field(
        "retailrocket", description="preset (retailrocket, movielens, online_retail) or path of a dataset.toml"
    )
    landing_uri: str = Field(
        "", description="where event files arrive: a path, file:// or s3://; read only; default data/landing/<dataset>"
    )
    storage_uri: str = Field(
        "", description="where assets and releases are kept: a path, file:// or s3://; default data/store/<dataset>"
    )
    start_date: date | None = Field(None, description="first day; default: the data set's")
    end_date: date | None = Field(
        None, description="day after the last one; default: the data set's, which may be open"
    )
    engine: Literal["polars"] = Field("polars", description="where frames run")
    executor: Literal["in_process", "multiprocess"] = Field("in_process", description="how steps of a run are executed")
    mode: Literal["autonomous", "manual"] = Field(
        "autonomous",
        description="autonomous: a release that passes its gates is served; manual: it waits for the approve_release job",
    )

    horizon_days: int = _days(7, "h: how far ahead targets count; also the distance between training windows")
    active_days: int = _days(28, "who gets recommendations: users with an event in this window")
    activity_days: int = _days(90, "history of a user that generators and features read")
    popular_days: int = _days(28, "window of top_popular's 'all' and category segments")
    trending_days: int = _days(3, "window of top_popular's 'trending' segment")
    covisit_days: int = _days(90, "window of item pairs")
    factors_days: int = _days(90, "window that ALS is fitted on")
    properties_days: int = _days(365, "how far back property snapshots are looked up")
    trending_half_life: float = _half_life(2, "'trending'")
    repeat_half_life: float = _half_life(30, "repeat items")
    covisit_half_life: float = _half_life(14, "the items that co-visitation starts from")
    factors_half_life: float = _half_life(30, "what ALS is fitted on")
    training_windows: int = Field(2, ge=1, le=26, description="label windows that a ranker learns from")

    popular_k: int = Field(200, ge=1, le=1000, description="length of each top_popular segment")
    similar_k: int = Field(30, ge=1, le=500, description="neighbours kept per item and source")
    recommendations_k: int = Field(100, ge=1, le=100, description="recommendations kept per user")
    candidates_k: int = Field(
        40, ge=3, le=500, description="candidates per user and personal generator; shared lists give a half or a third"
    )

    factors: int = Field(64, ge=1, le=1024, description="latent factors of ALS")
    als_iterations: int = Field(10, ge=1, le=500, description="iterations of ALS")
    tuning_trials: int = Field(5, ge=1, le=500, description="Optuna trials per ranker")
    min_evaluated_users: int = Field(
        30, ge=1, description="below this many evaluated users the fused generators are served"
    )
    exclude_unavailable: bool = Field(True, description="leave out items known to be unavailable at the end of the day")
    seed: int = Field(0, ge=0, description="seed of everything random")

    api_port: int = Field(8000, ge=0, le=65535, description="port of the API started by make run (0: any free one)")
    ui_port: int = Field(
        3000, ge=0, le=65535, description="port of the Dagster UI started by make run (0: any free one)"
    )

    @field_validator("dataset", mode="before")
    @classmethod
    def _blank_means_default(cls, value: str) -> str:
        return value or "retailrocket"


def load_settings(**overrides: Any) -> tuple[Settings, Dataset]:
    """The settings of this process and the data set that they name.

    Raises:
        ValueError: naming the variable or the data set's key at fault.
    """
    stated = Settings(**overrides)
    dataset = load_dataset(stated.dataset)
    unknown = sorted(set(dataset.defaults) - set(Settings.model_fields))
    if unknown:
        raise ValueError(f"data set {dataset.name!r}: [defaults] names unknown settings: {', '.join(unknown)}")
    completed: dict[str, Any] = {k: v for k, v in dataset.defaults.items() if k not in stated.model_fields_set}
    completed["landing_uri"] = _absolute(stated.landing_uri or f"data/landing/{dataset.name}")
    completed["storage_uri"] = _absolute(stated.storage_uri or f"data/store/{dataset.name}")
    completed["start_date"] = stated.start_date or dataset.start_date
    completed["end_date"] = stated.end_date or dataset.end_date
    try:
        return Settings(**{**overrides, **completed}), dataset
    except ValidationError as error:
        raise ValueError(f"data set {dataset.name!r}: [defaults]: {error}") from error


def _absolute(uri: str) -> str:
    """A plain path becomes an absolute ``file://`` address; others stay."""
    return uri if "://" in uri else Path(uri).expanduser().resolve().as_uri()
