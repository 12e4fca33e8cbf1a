"""Data, store and days."""

from __future__ import annotations

from datetime import date

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from recsys_assets.core.environment import Folders
from recsys_assets.core.settings.kinds import Share


class DataSettings(BaseSettings):
    """Data, store and days."""

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
    missing_share: Share = Field(
        default=0.05,
        description="share of a day's events, or of all files of a kind, that may be missing because files are set "
        "aside; above it, a release waits for a person ([how to](new-data.md#when-a-file-is-at-fault)); 0: none",
    )
    deleted_share: Share = Field(
        default=0.1,
        description="share of all events or properties that may vanish with their files at once, and of the rows of a "
        "file that is replaced; above it, their rows stay until a person agrees; 1: they always go",
    )

    @field_validator("dataset", mode="before")
    @classmethod
    def _blank_means_default(cls, value: str) -> str:
        return value or "retailrocket"
