"""Settings of the API: environment variables ``RECSYS_<NAME>``, with defaults that serve a laptop."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys_assets.core.environment import PREFIX as _PREFIX
from recsys_assets.core.environment import read_env_file, unknown_variables
from recsys_assets.core.faults import message_of

_SHORTEST_KEY = 16
_NOT_SHOWN = {(), ("storage_uri",), ("landing_uri",), ("events_url",), ("api_write_keys",), ("api_admin_keys",)}
"""Settings whose values may hold secrets; () is that of several settings together."""
_OF_MAKE = ("api_port", "api_url")
"""Variables that begin like the API's, of ``make run`` and ``make load``."""


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names its variable."""


def _default_cache() -> Path:
    """A folder of this user for temporary files: one on a disk rather than in memory, as ``/tmp`` often is."""
    on_disk = "/var/tmp"  # noqa: S108 (the folder in it must be this user's own)
    others = "TMPDIR" in os.environ or not os.access(on_disk, os.W_OK)
    return Path(tempfile.gettempdir() if others else on_disk) / f"recsys-api-{os.getuid()}"


class Settings(BaseSettings):
    """Settings of the API; credentials of the store are read from the environment, never from here.

    ``events_url`` is empty where events cannot be stored, and ``landing_uri`` where they are not exported.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    dataset: str = Field(default="retailrocket", description="data set; names the default store")
    storage_uri: str = Field(default="", description="store that holds the releases: a path, file:// or s3://")
    landing_uri: str = Field(
        default="", description="where served events are written for the graph: a path, file:// or s3://"
    )
    api_poll_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="seconds between the API's looks at which release is current"
    )
    api_cache_dir: Path = Field(
        default_factory=_default_cache, description="where the API keeps its own copies of releases, which it serves"
    )
    api_verify_bytes_per_second: int = Field(
        default=10_000_000,
        ge=0,
        le=10**12,
        description="bytes a second that the API reads to see whether what it serves is still what it loaded; 0: only "
        "files whose time or size changes",
    )
    events_url: SecretStr = Field(
        default=SecretStr(""),
        description="where events are stored: `sqlite:///` and a path, shared by the workers of one machine, or "
        "`postgresql://`, shared by all; must be set where the store is `s3://`; secret",
    )
    events_retention_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="days after which the API forgets an event, or a change of an item; older events are refused",
    )
    events_per_user: int = Field(
        default=1000, ge=1, le=1_000_000, description="newest events of a user that the API keeps"
    )
    api_item_changes: int = Field(
        default=100_000, ge=1, le=10_000_000, description="newest changes of items that the API keeps"
    )
    api_write_keys: SecretStr = Field(
        default=SecretStr(""),
        description="keys that may write, and read what a user did; comma separated, 16 characters or more; secret",
    )
    api_admin_keys: SecretStr = Field(
        default=SecretStr(""), description="keys that may administer, likewise; without any, nobody may; secret"
    )
    api_open_writes: bool = Field(
        default=False, description="whether everybody may write where no write key is set; `make run` sets it"
    )
    api_max_body_bytes: int = Field(
        default=1 << 20, ge=1024, le=1 << 30, description="most bytes of a request's body, also when unpacked"
    )
    api_header_seconds: float = Field(
        default=10.0, gt=0, le=3600, description="seconds in which the line and headers of a request must have arrived"
    )
    api_body_seconds: float = Field(
        default=30.0,
        gt=0,
        le=86_400,
        description="seconds in which its body must have arrived, and a client must go on reading an answer",
    )
    api_idle_seconds: int = Field(
        default=5, ge=1, le=3600, description="seconds after which a connection without a further request is closed"
    )
    api_max_header_bytes: int = Field(
        default=1 << 16, ge=1024, le=1 << 24, description="most bytes of a request's line and headers"
    )
    api_max_connections: int = Field(
        default=4000,
        ge=1,
        le=1_000_000,
        description="most connections of a worker; fewer where the process may open fewer files",
    )
    api_max_client_connections: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="most connections of one address, such as that of a proxy; at most three quarters of all",
    )
    api_max_events: int = Field(
        default=1000, ge=1, le=100_000, description="most events, or items to change, in one request"
    )
    api_cors_origins: str = Field(
        default="", description="origins of browsers that may call the API, comma separated; `*` for all"
    )
    api_export_seconds: float = Field(
        default=900.0, ge=0, le=86_400, description="age at which served events become a landing file; 0: they never do"
    )
    api_export_events: int = Field(
        default=100_000, ge=1, le=1_000_000, description="number of served events that become a landing file at once"
    )

    api_log: Literal["text", "json", "quiet"] = Field(
        default="text",
        description="the API's log: `text`, `json` for an object a line, or `quiet` without a line for each request",
    )

    api_traces_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="where traces of requests go by OTLP, such as `http://localhost:4318/v1/traces`; empty: nowhere",
    )
    api_traces_share: float = Field(default=0.01, ge=0, le=1, description="share of the requests that are traced")

    @field_validator("storage_uri", "landing_uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if "://" not in uri:
            return Path(uri).expanduser().absolute().as_uri() if uri else uri
        scheme, host, path, query, fragment = urlsplit(uri)
        local, bucket = scheme == "file" and not host and path, scheme == "s3" and host and "@" not in host
        if query or fragment or not (local or bucket):
            raise ValueError(f"must be a path, file:///path or s3://bucket/prefix, found one of scheme {scheme!r}")
        return uri

    @field_validator("events_url")
    @classmethod
    def _known_database(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        scheme, rest = urlsplit(text).scheme, text.partition("://")[2]
        if text and not ((scheme in ("postgresql", "postgres") and rest) or (scheme == "sqlite" and rest.strip("/"))):
            raise ValueError(f"must be sqlite:///path or postgresql://host/database, found one of scheme {scheme!r}")
        return url

    @field_validator("api_write_keys", "api_admin_keys")
    @classmethod
    def _long_keys(cls, keys: SecretStr) -> SecretStr:
        if any(len(key) < _SHORTEST_KEY for key in cls.keys(keys)):
            raise ValueError(f"a key must have at least {_SHORTEST_KEY} characters")
        return keys

    @model_validator(mode="after")
    def _defaults(self) -> Self:
        is_file = "/" in self.dataset or self.dataset.endswith(".toml")
        if not self.storage_uri and is_file:
            raise ValueError(f"{_PREFIX}STORAGE_URI must be set where {_PREFIX}DATASET is a file")
        data = Path.cwd() / "data"
        if not self.storage_uri:
            object.__setattr__(self, "storage_uri", (data / "store" / self.dataset).as_uri())
        if not self.landing_uri and not is_file:
            object.__setattr__(self, "landing_uri", (data / "landing" / self.dataset).as_uri())
        if not self.events_url.get_secret_value() and self.storage_uri.startswith("file://"):
            store = Path(unquote(urlsplit(self.storage_uri).path))
            path = store.with_name(f"{store.name}-events") / "events.sqlite"
            object.__setattr__(self, "events_url", SecretStr(f"sqlite:///{path}"))
        return self

    @staticmethod
    def list_of(text: str) -> list[str]:
        """The parts of a setting that is comma separated."""
        return [part.strip() for part in text.split(",") if part.strip()]

    @classmethod
    def keys(cls, secret: SecretStr) -> list[str]:
        """The keys of a setting."""
        return cls.list_of(secret.get_secret_value())


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: naming each variable at fault, what is wrong with it, and the value found, a line each.
    """
    read_env_file()
    faults = unknown_variables({*Settings.model_fields, *_OF_MAKE}, of_the_api=True)
    try:
        settings = Settings()  # pyright: ignore[reportCallIssue]  # the environment fills it
    except ValidationError as error:
        faults += [_fault(fault["loc"], message_of(fault), fault["input"]) for fault in error.errors()]
        raise SettingsError("\n".join(faults)) from None
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _fault(loc: tuple[int | str, ...], message: str, value: object) -> str:
    shown = "" if loc in _NOT_SHOWN else f", found {value!r}"
    return f"{_PREFIX}{loc[0].upper()}: {message}{shown}" if loc and isinstance(loc[0], str) else message
