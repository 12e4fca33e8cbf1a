"""Settings of the API: environment variables ``RECSYS_<NAME>``, with defaults that serve a laptop."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_PREFIX = "RECSYS_"


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names its variable."""


def _default_cache() -> Path:
    """A folder of this user in the system's temporary directory."""
    return Path(tempfile.gettempdir()) / f"recsys-api-{os.getuid()}"


class Settings(BaseSettings):
    """Settings of the API; credentials of the store are read from the environment, never from here."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    dataset: str = Field(default="retailrocket", description="data set; names the default store")
    storage_uri: str = Field(default="", description="store that holds the releases: a path, file:// or s3://")
    api_poll_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="seconds between the API's looks at which release is current"
    )
    api_cache_dir: Path = Field(
        default_factory=_default_cache, description="where the API keeps its copies of releases from `s3://`"
    )

    @field_validator("storage_uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if "://" not in uri:
            return Path(uri).expanduser().absolute().as_uri() if uri else uri
        scheme, host, path, query, fragment = urlsplit(uri)
        local, bucket = scheme == "file" and not host and path, scheme == "s3" and host and "@" not in host
        if query or fragment or not (local or bucket):
            raise ValueError(f"must be a path, file:///path or s3://bucket/prefix, found one of scheme {scheme!r}")
        return uri

    @model_validator(mode="after")
    def _default_store(self) -> Self:
        if not self.storage_uri:
            if "/" in self.dataset or self.dataset.endswith(".toml"):
                raise ValueError(f"{_PREFIX}STORAGE_URI must be set where {_PREFIX}DATASET is a file")
            uri = (Path.cwd() / "data" / "store" / self.dataset).as_uri()
            object.__setattr__(self, "storage_uri", uri)
        return self


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: naming each variable at fault, what is wrong with it, and the value found.
    """
    try:
        return Settings()  # pyright: ignore[reportCallIssue]  # the environment fills it
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_fault(fault["loc"], fault["msg"], fault["input"]) for fault in error.errors())
        ) from None


def _fault(loc: tuple[int | str, ...], message: str, value: object) -> str:
    # The URI itself is not shown: it may contain a password.
    shown = "" if loc in ((), ("storage_uri",)) else f", found {value!r}"
    return f"{_PREFIX}{loc[0].upper()}: {message}{shown}" if loc and isinstance(loc[0], str) else message
