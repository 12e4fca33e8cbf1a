"""Every setting of the platform: environment variables ``RECSYS_<NAME>``, with defaults that serve a laptop.

A data set may bring its own defaults (``[defaults]`` in its ``dataset.toml``): gifts are bought again after months,
films are news for days. What the environment states wins, then the data set, then the defaults below.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys_assets.core.dataset import Dataset, DatasetError, load_dataset
from recsys_assets.core.environment import (
    PREFIX,
    Folders,
    absolute_uri,
    explain_variables,
    read_env_file,
    reject_renamed,
    unknown_variables,
)
from recsys_assets.core.faults import did_you_mean

RENAMED: Mapping[str, str] = {"exclude_bought": "exclude_purchased"}
"""Settings that had another name once, by that name. The old name is an error, so that it is not ignored silently."""
_Share = Annotated[float, Field(ge=0, le=1)]


def _days(default: int, about: str) -> Any:
    return Field(default=default, ge=1, le=3650, description=about)


def _half_life(default: float, about: str) -> Any:
    return Field(default=default, gt=0, le=3650, description=f"days after which an event counts half {about}")


class Settings(BaseSettings):
    """Settings, read from ``RECSYS_*``; unknown values and out-of-range numbers are errors that name the variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    dataset: str = Field(
        default="retailrocket",
        description="preset (`retailrocket`, `movielens`, `online_retail`) or path of a `dataset.toml`",
    )
    landing_uri: str = Field(
        default="",
        description="where event files arrive: a path, `file://` or `s3://`; they are never changed. The API adds "
        "files in the folder `served`, from which `erase_user` takes persons out",
    )
    landing_links: Folders = Field(
        default="",
        description="folders outside the landing zone that links in it may lead into, comma separated; links elsewhere "
        "are set aside ([how to](new-data.md#when-a-file-is-at-fault))",
    )
    storage_uri: str = Field(default="", description="where assets and releases are kept: a path, `file://` or `s3://`")
    key_prefix: str = Field(
        default="",
        max_length=48,
        pattern=r"^$|^[A-Za-z0-9]+([_/][A-Za-z0-9]+)*$",
        description="before all asset keys, such as `shop/de`, where a project has several data sets "
        "([how to](embedding.md)); jobs, sensors and the like begin with `shop__de__`",
    )
    placements: str = Field(
        default="",
        description="path of the `placements.toml` that releases take along ([how to](placements.md))",
    )
    start_date: date | None = Field(default=None, description="first day of the graph; earlier days are not built")
    end_date: date | None = Field(default=None, description="day after the last one; later days are not built")
    engine: Literal["polars", "duckdb", "spark"] = Field(
        default="polars", description="what runs the frames: `polars`, `duckdb` (spills to disk) or `spark` (a cluster)"
    )
    memory_limit: str = Field(
        default="",
        pattern=r"^$|^[0-9]+(\.[0-9]+)? ?([KMGT]i?B)$",
        description="what DuckDB may hold before it spills to disk, such as `8GB`; empty: what it finds best",
    )
    spill_folder: str = Field(
        default="", description="where DuckDB spills to; empty: the system's folder for temporary files"
    )
    spark_cluster: str = Field(
        default="local-standalone",
        pattern=r"^(local-standalone|emr-serverless|(spark|sc)://.+)$",
        description="where `spark` runs: `local-standalone` (processes of this machine, for the run), "
        "`spark://host:port` (a master), `sc://host:port` (Spark Connect) or `emr-serverless` (made for the run)",
    )
    spark_workers: int = Field(default=2, ge=1, le=64, description="workers of `local-standalone`, with one core each")
    spark_memory: str = Field(
        default="2g", pattern=r"^[1-9][0-9]*[mg]$", description="memory of each worker of `local-standalone`"
    )
    emr_role_arn: str = Field(default="", description="IAM role that Spark on EMR Serverless runs as")
    emr_release: str = Field(default="", description="EMR release of the application, such as `emr-7.13.0`")
    emr_image: str = Field(default="", description="container image with this package for EMR's workers")
    executor: Literal["in_process", "multiprocess"] = Field(
        default="in_process",
        description="steps of a run started in the UI: all in one process, or each in a process of its own",
    )
    mode: Literal["autonomous", "manual"] = Field(
        default="autonomous",
        description="`autonomous`: a model that passes the gate is promoted, a release that passes its checks is "
        "served; `manual`: they wait for `approve_model` and `approve_release`",
    )

    automation: bool = Field(
        default=True,
        description="`on`: sensors and a daily schedule take new files in; `off`: nothing starts by itself",
    )
    sensor_seconds: int = Field(
        default=5,
        ge=1,
        le=3600,
        description="seconds between two looks at the landing zone, and at what follows from new days; a file is taken "
        "in when two looks in a row find it unchanged",
    )
    fresh_hours: int = Field(
        default=36, ge=1, le=8760, description="hours without new events or a new release after which the UI says so"
    )

    missing_share: _Share = Field(
        default=0.05,
        description="share of a day's events, or of all files of a kind, that may be missing because files are set "
        "aside; above it, a release waits for a person ([how to](new-data.md#when-a-file-is-at-fault)); 0: none",
    )
    deleted_share: _Share = Field(
        default=0.1,
        description="share of all events or properties that may vanish with their files at once, and of the rows of a "
        "file that is replaced; above it, their rows stay until a person agrees; 1: they always go",
    )
    keep_logs_days: int = _days(90, "after how many days the job `prune` deletes what the steps of a run logged")
    keep_releases: int = Field(
        default=30, ge=2, le=10_000, description="releases that `prune` leaves; needed ones always stay"
    )

    horizon_days: int = _days(
        7, "how many days ahead a recommendation may come true; also the distance between the ranker's training windows"
    )
    active_days: int = _days(28, "who gets a list of their own: users with an event in the last so many days")
    activity_days: int = _days(90, "how far back a user's history is read")
    popular_windows: Literal["found", "stated"] = Field(
        default="found",
        description="how far back popular and trending lists count: `found` for each day, from an hour to all time, by "
        "which lists served users best lately; `stated`: by the next two settings and the half-life",
    )
    popular_days: int = _days(
        28, "how far back popularity is counted as a feature, and for lists where there is too little to find it by"
    )
    trending_days: int = _days(3, "how far back trends are counted, likewise")
    covisit_days: int = _days(45, "how far back items seen in one session are counted")
    factors_days: int = _days(90, "how far back the events lie that matrix factorization (ALS) is fitted on")
    properties_days: int = _days(365, "how far back an item's category, price and other properties are looked up")
    new_item_days: int = _days(14, "for how many days from when it was first seen an item is new")
    report_days: int = _days(28, "how far back `data_report` and `feedback_report` look")
    attribution_hours: int = Field(
        default=24, ge=1, le=720, description="hours in which an event of an impression's user and item follows from it"
    )
    backtest_days: int = _days(60, "how far back `backtest_report` looks for as-of days")
    trending_half_life: float = _half_life(2, "among trending items, where it is not found; below 1, hours count")
    repeat_half_life: float = _half_life(30, "when items that a user knows are proposed again")
    covisit_half_life: float = _half_life(14, "when a user's items say which neighbours to propose")
    factors_half_life: float = _half_life(30, "when ALS is fitted")
    training_windows: int = Field(
        default=8,
        ge=1,
        le=26,
        description="past windows of `RECSYS_HORIZON_DAYS` each that rankers and weights learn from, as far as the "
        "data reach",
    )

    popular_k: int = Field(
        default=200, ge=1, le=1000, description="items per popularity list: all, trending, each category"
    )
    similar_k: int = Field(default=30, ge=1, le=500, description="similar items kept per item")
    recommendations_k: int = Field(default=100, ge=1, le=100, description="recommendations kept per user")
    explained_items: int = Field(
        default=10,
        ge=0,
        le=100,
        description="first items of each list for which a release can say why: the generators' ranks, and the features "
        "that weighed most; each takes about 30 bytes of the store; 0: none",
    )
    candidates_k: int = Field(
        default=40,
        ge=3,
        le=500,
        description="candidates per user from each generator; of popular and trending ones, those that unknown users "
        "get too are as many, else half (popular) or a third (trending)",
    )

    generators: str = Field(
        default="",
        description="generators that recommend candidates, such as `popular,covisit,repeat`; empty: those with a "
        "measured gain ([table](generators.md)); `all`: every one",
    )
    factors: int = Field(
        default=64, ge=1, le=1024, description="length of the vectors that ALS makes of users and items"
    )
    als_iterations: int = Field(default=10, ge=1, le=500, description="rounds of ALS")
    tuning_trials: int = Field(default=6, ge=1, le=500, description="parameter sets that Optuna tries for a ranker")
    tuning_fusion_trials: int = Field(
        default=500, ge=0, le=10_000, description="weights of the generators to evaluate; 0: they stay as they are"
    )
    tuning_als_trials: int = Field(
        default=0,
        ge=0,
        le=500,
        description="parameter sets that Optuna tries for ALS; 0: none, since each takes as long as fitting ALS",
    )
    tuning_seconds: float = Field(
        default=0,
        ge=0,
        le=86_400,
        description="seconds after which a search begins no further trial; 0: no limit, since with one the result "
        "depends on how fast the machine is",
    )
    tuning_every_days: int = _days(
        7, "days that found parameters serve, counted from the first day; then they are searched anew"
    )
    tuning_storage_uri: SecretStr = Field(
        default=SecretStr(""),
        description="where searches are kept, so that one that was cut off goes on: a folder, `sqlite:///…`, "
        "`postgresql://…`, or `memory`: nowhere",
    )
    min_evaluated_users: int = Field(
        default=30, ge=1, description="with fewer users, nobody wins and the fused generators order the lists"
    )
    refit: bool = Field(
        default=True,
        description="the champion learns once more before it orders lists, from the newest window as well, on which it "
        "was judged; `false`: it serves as it was judged",
    )
    exclude_unavailable: bool = Field(
        default=True, description="leave out items that are known to be unavailable at the end of the day"
    )
    exclude_purchased: bool = Field(
        default=False,
        description="exclude items that the user purchased within `RECSYS_ACTIVITY_DAYS`; where the data set says "
        "`repeats = false`, items that the user interacted with are excluded anyway",
    )
    category_cap: int = Field(
        default=0, ge=0, le=100, description="most items of one category in a list; 0: any number"
    )
    diversity: _Share = Field(
        default=0.0,
        description="how much lists vary in categories at the cost of relevance: 0 not at all, 0.1 to 0.3 a little "
        "(maximal marginal relevance); `ranker_evaluation` shows what it costs",
    )
    new_item_quota: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="share of each list that is kept for items younger than `RECSYS_NEW_ITEM_DAYS`: with 0.1 the 10th, "
        "20th and each further tenth place, as far as there are such candidates; 0: none",
    )
    seed: int = Field(default=0, ge=0, description="seed of everything random")

    mlflow_tracking_uri: SecretStr = Field(
        default=SecretStr(""),
        description="where MLflow records: `sqlite:///…`, `postgresql://…` or a server's address; `off`: nowhere",
    )
    mlflow_artifacts_uri: str = Field(
        default="",
        description="where MLflow keeps models and plots: a path, `file://` or `s3://`; a server knows its own",
    )
    mlflow_experiment: str = Field(
        default="", description="MLflow's experiment; the registered model is `<experiment>_ranker`"
    )
    mlflow_port: int = Field(default=5000, ge=0, le=65535, description="port of `make mlflow`")

    recommendations_url: SecretStr = Field(
        default=SecretStr(""),
        description="PostgreSQL that gets the [lists of the served release](serving-table.md) as tables, "
        "`postgresql://…`; secret; empty: none, and the graph has no `recommendations_table`",
    )
    recommendations_schema: str = Field(
        default="recsys", pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="their schema; one for each data set"
    )

    notify_webhook_url: SecretStr = Field(
        default=SecretStr(""), description="gets a JSON document by POST for every release and every failed run; secret"
    )
    telegram_token: SecretStr = Field(
        default=SecretStr(""), description="of the Telegram bot that tells of releases and failed runs; secret"
    )
    telegram_chat_id: str = Field(default="", description="the chat that the bot writes to")

    openlineage_url: SecretStr = Field(
        default=SecretStr(""),
        description="gets [OpenLineage events](lineage-events.md): `file:///….ndjson` or `https://…`; empty: none",
    )
    openlineage_api_key: SecretStr = Field(default=SecretStr(""), description="bearer key for that address; secret")

    api_port: int = Field(
        default=8000, ge=0, le=65535, description="port of the API in `make run`; any free one if taken or 0"
    )
    ui_port: int = Field(
        default=3000, ge=0, le=65535, description="port of the UI in `make run`; any free one if taken or 0"
    )

    @field_validator("dataset", mode="before")
    @classmethod
    def _blank_means_default(cls, value: str) -> str:
        return value or "retailrocket"

    @field_validator("generators")
    @classmethod
    def _names_alone(cls, value: str) -> str:
        """Without blanks; which names there are is known where the graph is built."""
        return ",".join(name.strip() for name in value.split(",") if name.strip())

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
