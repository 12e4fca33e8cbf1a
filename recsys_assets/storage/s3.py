"""Objects under a prefix of an S3 bucket, on AWS or any server that supports conditional writes."""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

import obstore
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store as Client

from recsys_assets.storage.objects import CHUNK, AlreadyExists, Conflict, NotFound, ObjectMeta, check_key, hidden
from recsys_assets.storage.s3_unlisted import Unlisted

_MAX_PARTS = 9_000  # S3 takes 10,000 parts in one upload


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


class S3Store:
    """An ``ObjectStore`` over a bucket.

    The client retries server errors and broken connections, ten times within three minutes. It also retries a
    conditional write whose answer was lost, which may then fail because the first attempt succeeded. So after
    ``Conflict`` or ``AlreadyExists``, callers should check whether the object already has the wanted content.

    Ceph RGW 16 ignores If-None-Match and refuses every If-Match on a bucket with versioning: use one without.

    Args:
        bucket: its name.
        prefix: folder within the bucket; "" is the whole bucket.
        options: endpoint and credentials.

    Raises:
        ValueError: no credentials were given and boto3 finds none.
    """

    def __init__(self, bucket: str, prefix: str, options: S3Options):
        self._base = f"s3://{bucket}/{prefix}".rstrip("/")
        self._prefix = prefix
        self._unlisted = Unlisted(bucket, options)
        self.storage_options = options.for_polars()
        config: dict[str, Any] = {
            "endpoint": options.endpoint,
            "region": options.region,
            "access_key_id": options.access_key_id,
            "secret_access_key": options.secret_access_key,
            "session_token": options.session_token,
            "virtual_hosted_style_request": not options.path_style,
        }
        self._client = Client(
            bucket,
            prefix=prefix or None,
            client_options={"allow_http": options.allow_http},
            credential_provider=None if options.access_key_id else _default_credentials(self._base),
            **{name: value for name, value in config.items() if value is not None},
        )

    def __repr__(self) -> str:
        return f"S3Store({self._base!r})"

    def get(self, key: str) -> bytes:
        """The whole object; see :class:`ObjectStore`."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The whole object with its etag; see :class:`ObjectStore`."""
        with _store_errors(self.uri(key)):
            result = obstore.get(self._client, check_key(key))
            return bytes(result.bytes()), _without_quotes(result.meta["e_tag"])

    def put(self, key: str, data: bytes | Path) -> None:
        """Write or overwrite, large files in parts; see :class:`ObjectStore`."""
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        with _store_errors(self.uri(key)):
            obstore.put(self._client, check_key(key), data, chunk_size=max(CHUNK, size // _MAX_PARTS + 1))

    def create(self, key: str, data: bytes | Path) -> None:
        """Write a new object in one request, at most 5 GB; see :class:`ObjectStore`."""
        # Checked first: this avoids sending a large body in vain, and some servers ignore the condition (see above).
        if self.exists(key):
            raise AlreadyExists(f"{self.uri(key)} exists already")
        with _store_errors(self.uri(key)):
            obstore.put(self._client, key, data, mode="create")

    def replace(self, key: str, data: bytes, etag: str | None) -> None:
        """Compare and swap; see :class:`ObjectStore`."""
        if etag is None:
            try:
                self.create(key, data)
            except AlreadyExists:
                raise Conflict(f"{self.uri(key)}: expected no object, found one") from None
            return
        with _store_errors(self.uri(key)):
            # Without quotes: AWS accepts both forms, Ceph RGW only this one.
            obstore.put(self._client, check_key(key), data, mode={"e_tag": etag})

    def exists(self, key: str) -> bool:
        """Whether there is an object; see :class:`ObjectStore`."""
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def head(self, key: str) -> ObjectMeta:
        """Size, etag and time; see :class:`ObjectStore`."""
        with _store_errors(self.uri(key)):
            return _meta(obstore.head(self._client, check_key(key)))

    def list(self, prefix: str = "") -> list[ObjectMeta]:
        """All objects under a folder; see :class:`ObjectStore`."""
        folder = check_key(prefix) if prefix else None
        pages = obstore.list(self._client, folder)  # pyright: ignore[reportUnknownMemberType]
        objects = [_meta(entry) for page in pages for entry in page if not hidden(entry["path"])]
        return sorted(objects, key=lambda meta: meta.key)

    def delete(self, key: str) -> None:
        """Remove an object; see :class:`ObjectStore`."""
        obstore.delete(self._client, check_key(key))

    def sweep(self, prefix: str = "", hours: float = 0, *, history: bool = False) -> list[str]:
        """Abort unfinished uploads; see :class:`ObjectStore`."""
        before = datetime.now(UTC) - timedelta(hours=hours)
        return self._unlisted.sweep(self._folder(prefix), before, history=history)

    def unlisted(self, prefix: str = "") -> list[str]:
        """Unfinished uploads, hidden objects and versions of before; see :class:`ObjectStore`."""
        return self._unlisted.names(self._folder(prefix))

    def _folder(self, prefix: str) -> str:
        """The prefix of keys in the bucket, for a folder of the store."""
        parts = [part for part in (self._prefix, check_key(prefix) if prefix else "") if part]
        return f"{'/'.join(parts)}/" if parts else ""

    def open(self, key: str) -> BinaryIO:
        """A seekable binary file; see :class:`ObjectStore`. Reading fails if the object is replaced meanwhile."""
        raw = _RangeReader(self._client, self.head(key), self.uri(key))
        return cast(BinaryIO, io.BufferedReader(raw, buffer_size=1 << 20))

    def uri(self, key: str = "") -> str:
        """``s3://bucket/prefix/key``; see :class:`ObjectStore`."""
        return f"{self._base}/{check_key(key.rstrip('/'))}" if key else self._base

    def local_path(self, key: str) -> Path | None:
        """None; see :class:`ObjectStore`."""
        check_key(key)


@contextmanager
def _store_errors(uri: str) -> Generator[None]:
    """Translate errors of the client to those of a store, which name the object."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{uri} does not exist") from None
    except AlreadyExistsError:
        raise AlreadyExists(f"{uri} exists already") from None
    except PreconditionError:
        raise Conflict(f"{uri}: it was changed or removed meanwhile") from None


class _RangeReader(io.RawIOBase):
    """Reads ranges of one version of one object."""

    def __init__(self, client: Client, meta: ObjectMeta, uri: str):
        super().__init__()
        self._client, self._meta, self._uri, self._position = client, meta, uri, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._meta.size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        end = min(self._position + len(buffer), self._meta.size)
        if end <= self._position:
            return 0
        with _store_errors(self._uri):
            options: obstore.GetOptions = {"range": (self._position, end), "if_match": f'"{self._meta.etag}"'}
            data = bytes(obstore.get(self._client, self._meta.key, options=options).bytes())
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _default_credentials(base: str) -> Boto3CredentialProvider:
    try:
        return Boto3CredentialProvider()
    except ValueError:
        raise ValueError(
            f"{base}: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role"
        ) from None


def _without_quotes(etag: str | None) -> str:
    return (etag or "").strip('"')


def _meta(entry: obstore.ObjectMeta) -> ObjectMeta:
    # HEAD has whole seconds and a listing may have fractions: both must agree.
    modified = entry["last_modified"].replace(microsecond=0)
    return ObjectMeta(entry["path"], entry["size"], _without_quotes(entry["e_tag"]), modified)
