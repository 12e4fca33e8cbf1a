"""MLflow, PostgreSQL, notices and lineage events."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class ConnectionSettings(BaseSettings):
    """MLflow, PostgreSQL, notices and lineage events."""

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
