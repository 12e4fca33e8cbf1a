"""Endpoint and credentials of an S3 server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class S3Options:
    """Endpoint and credentials of an S3 server; what is None is resolved as boto3 does it.

    Attributes:
        endpoint: ``http(s)://host:port``; None is AWS. Plain HTTP only for an ``http`` address.
        path_style: whether the bucket is part of the path. If False, ``endpoint`` is the host of the bucket.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    path_style: bool = True

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> S3Options:
        """Read the usual ``AWS_*`` variables; an empty value counts as not set."""
        env = os.environ if env is None else env
        return cls(
            endpoint=env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or None,
            region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or None,
            access_key_id=env.get("AWS_ACCESS_KEY_ID") or None,
            secret_access_key=env.get("AWS_SECRET_ACCESS_KEY") or None,
            session_token=env.get("AWS_SESSION_TOKEN") or None,
            path_style=env.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() not in ("1", "true"),
        )

    @property
    def allow_http(self) -> bool:
        """Whether the endpoint is plain HTTP."""
        return self.endpoint is not None and self.endpoint.startswith("http://")

    def for_polars(self) -> dict[str, str] | None:
        """The options under the names of Polars (and of any other user of Rust's ``object_store``).

        None, not {}, if nothing is set: with an empty mapping, Polars would not look for credentials itself.
        """
        options = {
            "aws_endpoint_url": self.endpoint,
            "aws_region": self.region,
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "aws_session_token": self.session_token,
            "aws_allow_http": "true" if self.allow_http else None,
            "aws_virtual_hosted_style_request": None if self.path_style else "true",
        }
        return {name: value for name, value in options.items() if value is not None} or None
