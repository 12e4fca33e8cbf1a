"""Runs and automation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from recsys_assets.core.settings.kinds import days


class RunSettings(BaseSettings):
    """Runs and automation."""

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
    keep_logs_days: int = days(90, "after how many days the job `prune` deletes what the steps of a run logged")
    keep_releases: int = Field(
        default=30, ge=2, le=10_000, description="releases that `prune` leaves; needed ones always stay"
    )
    api_port: int = Field(
        default=8000, ge=0, le=65535, description="port of the API in `make run`; any free one if taken or 0"
    )
    ui_port: int = Field(
        default=3000, ge=0, le=65535, description="port of the UI in `make run`; any free one if taken or 0"
    )
