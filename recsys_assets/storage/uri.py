"""Opens the store of a storage URI."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.retries import PATIENT, Retries
from recsys_assets.storage.s3_options import S3Options


def open_store(uri: str, options: S3Options | None = None, retries: Retries = PATIENT) -> ObjectStore:
    """The store under a URI.

    Args:
        uri: ``file:///absolute/path``, a plain path, or ``s3://bucket/prefix``.
        options: endpoint and credentials for ``s3://``; None reads the environment.
        retries: how long calls to ``s3://`` are repeated while the server or the network is down.

    Raises:
        ValueError: another scheme, a bucket or a path is missing, or no credentials are found.
    """
    if "://" not in uri:
        if not uri:
            raise ValueError("storage URI is empty: expected file:///path, a path or s3://bucket/prefix")
        return LocalStore(Path(uri).expanduser().absolute())
    scheme, host, path, query, fragment = urlsplit(uri)
    if scheme == "file" and host in ("", "localhost") and path and not query and not fragment:
        return LocalStore(Path(unquote(path)))
    if scheme == "s3" and host and "@" not in host and not query and not fragment:
        # Its client takes 0.15 s to import and 11 MB in every process, which other stores must not cost.
        from recsys_assets.storage.s3 import S3Store

        return S3Store(host, path.strip("/"), options or S3Options.from_env(), retries)
    # The URI is not shown: it may contain a password.
    raise ValueError(f"storage URI of scheme {scheme!r}: expected file:///path, a path or s3://bucket/prefix")
