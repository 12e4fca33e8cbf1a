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

from recsys_assets.core.dataset import Dataset, DatasetError, load_dataset


def _days(default: int, about: str) -> Any:
    return Field(default, ge=1, le=3650, description=about)


def _half_life(default: float, about: str) -> Any:
    return Field(default, gt=0, le=3650, description=f"days after which an event counts half {about}")


class Settings(BaseSettings):
    """Settings, read from ``RECSYS_*``; unknown values and out-of-range numbers are errors that name the variable."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_", frozen=True, extra="forbid")

    dataset: str = Field(
        "retailrocket", description="preset (`retailrocket`, `movielens`, `online_retail`) or path of a `dataset.toml`"
    )
    landing_uri: str = Field(
        "", description="where event files arrive: a path, `file://` or `s3://`; it is read and never changed"
    )
    storage_uri: str = Field("", description="where assets and releases are kept: a path, `file://` or `s3://`")
    start_date: date | None = Field(None, description="first day of the graph; earlier days are not built")
    end_date: date | None = Field(None, description="day after the last one; later days are not built")
    engine: Literal["polars"] = Field("polars", description="what runs the frames; more may follow")
    executor: Literal["in_process", "multiprocess"] = Field(
        "in_process",
        description="steps of a run started in the UI: all in one process, or each in a process of its own",
    )
    mode: Literal["autonomous", "manual"] = Field(
        "autonomous",
        description="`autonomous`: a release that passes its gates is served; `manual`: it waits for `approve_release`",
    )

    horizon_days: int = _days(
        7, "how many days ahead a recommendation may come true; also the distance between the ranker's training windows"
    )
    active_days: int = _days(28, "who gets a list of their own: users with an event in the last so many days")
    activity_days: int = _days(90, "how far back a user's history is read")
    popular_days: int = _days(28, "how far back popularity is counted, over all items and by category")
    trending_days: int = _days(3, "how far back trending items are counted")
    covisit_days: int = _days(90, "how far back items seen in one session are counted")
    factors_days: int = _days(90, "how far back the events lie that matrix factorization (ALS) is fitted on")
    properties_days: int = _days(365, "how far back an item's category, price and availability are looked up")
    trending_half_life: float = _half_life(2, "among trending items")
    repeat_half_life: float = _half_life(30, "when items that a user knows are proposed again")
    covisit_half_life: float = _half_life(14, "when a user's items say which neighbours to propose")
    factors_half_life: float = _half_life(30, "when ALS is fitted")
    training_windows: int = Field(
        2, ge=1, le=26, description="past windows of `RECSYS_HORIZON_DAYS` each that a ranker learns from"
    )

    popular_k: int = Field(200, ge=1, le=1000, description="items per popularity list: all, trending, each category")
    similar_k: int = Field(30, ge=1, le=500, description="similar items kept per item")
    recommendations_k: int = Field(100, ge=1, le=100, description="recommendations kept per user")
    candidates_k: int = Field(
        40,
        ge=3,
        le=500,
        description="candidates per user from each personal generator; popular ones are half as many, trending a third",
    )

    factors: int = Field(64, ge=1, le=1024, description="length of the vectors that ALS makes of users and items")
    als_iterations: int = Field(10, ge=1, le=500, description="rounds of ALS")
    tuning_trials: int = Field(5, ge=1, le=500, description="parameter sets that Optuna tries for each ranker")
    min_evaluated_users: int = Field(
        30, ge=1, description="with fewer users to judge by, nobody wins and the fused generators order the lists"
    )
    exclude_unavailable: bool = Field(
        True, description="leave out items that are known to be unavailable at the end of the day"
    )
    seed: int = Field(0, ge=0, description="seed of everything random")

    api_port: int = Field(8000, ge=0, le=65535, description="port of the API in `make run`; any free one if taken or 0")
    ui_port: int = Field(3000, ge=0, le=65535, description="port of the UI in `make run`; any free one if taken or 0")

    @field_validator("dataset", mode="before")
    @classmethod
    def _blank_means_default(cls, value: str) -> str:
        return value or "retailrocket"

    @property
    def first_day(self) -> date:
        """The first day of the graph; :func:`load_settings` fills it in."""
        if self.start_date is None:
            raise ValueError("RECSYS_START_DATE is not set: take settings from load_settings, which asks the data set")
        return self.start_date


def load_settings(**overrides: Any) -> tuple[Settings, Dataset]:
    """The settings of this process and the data set that they name.

    Raises:
        ValueError: naming the variable or the data set's key at fault.
    """
    try:
        stated = Settings(**overrides)
    except ValidationError as error:
        raise ValueError(_explain(error, "RECSYS_")) from None
    try:
        dataset = load_dataset(stated.dataset)
    except DatasetError as error:
        raise ValueError(f"RECSYS_DATASET: {error}") from error
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
        raise ValueError(f"data set {dataset.name!r}: [defaults]: {_explain(error)}") from None


def _explain(error: ValidationError, prefix: str = "") -> str:
    """Each fault as ``variable: what is wrong (found …)``, on one line."""
    faults = error.errors(include_url=False)
    names = ["_".join(str(part) for part in fault["loc"]) for fault in faults]
    return "; ".join(
        f"{prefix}{name.upper() if prefix else name}: {fault['msg']} (found {fault['input']!r})"
        for name, fault in zip(names, faults, strict=True)
    )


def _absolute(uri: str) -> str:
    """A plain path becomes an absolute ``file://`` address; others stay."""
    return uri if "://" in uri else Path(uri).expanduser().resolve().as_uri()
