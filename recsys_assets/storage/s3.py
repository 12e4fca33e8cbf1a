"""Objects under a prefix of an S3 bucket, on AWS or any server that supports conditional writes."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import obstore
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError
from obstore.store import S3Store as Client

from recsys_assets.storage.objects import CHUNK, AlreadyExists, Conflict, NotFound, ObjectMeta, check_key, hidden
from recsys_assets.storage.retries import PATIENT, Retries
from recsys_assets.storage.s3_options import S3Options
from recsys_assets.storage.s3_unlisted import Unlisted

Result = TypeVar("Result")
_STATUS = re.compile(r"status code: (\d{3})")
_PASSING = (408, 425, 429)
"""Answers of 4xx that ask to come back. A 400 of S3 does too where its code is RequestTimeout."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_MAX_PARTS = 9_000  # S3 takes 10,000 parts in one upload


class S3Store:
    """An ``ObjectStore`` over a bucket.

    Calls are repeated after errors of the server or the network, broken connections and answers that were cut off or
    damaged, but not where the server refuses (403), has no such object (404) or a condition does not hold (412). That
    includes a conditional write whose answer was lost, which may then fail because the first attempt succeeded. So
    after ``Conflict`` or ``AlreadyExists``, callers should check whether the object already has the wanted content.

    Ceph RGW 16 ignores If-None-Match and refuses every If-Match on a bucket with versioning: use one without.

    Args:
        bucket: its name.
        prefix: folder within the bucket; "" is the whole bucket.
        options: endpoint and credentials.
        retries: how long calls are repeated.

    Raises:
        ValueError: no credentials were given and boto3 finds none.
    """

    def __init__(self, bucket: str, prefix: str, options: S3Options, retries: Retries = PATIENT):
        self._retries, self._etags_are_md5 = retries, True
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
            retry_config=_of_each_request(retries),
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
        before: list[bytes] = []

        def read() -> tuple[bytes, str]:
            result = obstore.get(self._client, check_key(key))
            data, etag = bytes(result.bytes()), _without_quotes(result.meta["e_tag"])
            if self._etags_are_md5 and _MD5.fullmatch(etag) and md5(data, usedforsecurity=False).hexdigest() != etag:
                if data not in before:
                    before.append(data)
                    raise DamagedAnswer(f"{self.uri(key)}: the bytes do not match their etag")
                # Twice the same bytes: etags of this bucket are no hashes, as with some kinds of encryption.
                self._etags_are_md5 = False
            return data, etag

        return self._call(self.uri(key), read)

    def put(self, key: str, data: bytes | Path) -> None:
        """Write or overwrite, large files in parts; see :class:`ObjectStore`."""
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        chunk = max(CHUNK, size // _MAX_PARTS + 1)
        self._call(self.uri(key), lambda: obstore.put(self._client, check_key(key), data, chunk_size=chunk))

    def create(self, key: str, data: bytes | Path) -> None:
        """Write a new object in one request, at most 5 GB; see :class:`ObjectStore`."""
        # Checked first: this avoids sending a large body in vain, and some servers ignore the condition (see above).
        if self.exists(key):
            raise AlreadyExists(f"{self.uri(key)} exists already")
        self._call(self.uri(key), lambda: obstore.put(self._client, key, data, mode="create"))

    def replace(self, key: str, data: bytes, etag: str | None) -> None:
        """Compare and swap; see :class:`ObjectStore`."""
        if etag is None:
            try:
                self.create(key, data)
            except AlreadyExists:
                raise Conflict(f"{self.uri(key)}: expected no object, found one") from None
            return
        # Without quotes: AWS accepts both forms, Ceph RGW only this one.
        self._call(self.uri(key), lambda: obstore.put(self._client, check_key(key), data, mode={"e_tag": etag}))

    def exists(self, key: str) -> bool:
        """Whether there is an object; see :class:`ObjectStore`."""
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def head(self, key: str) -> ObjectMeta:
        """Size, etag and time; see :class:`ObjectStore`."""
        return self._call(self.uri(key), lambda: _meta(obstore.head(self._client, check_key(key))))

    def list(self, prefix: str = "") -> list[ObjectMeta]:
        """All objects under a folder; see :class:`ObjectStore`."""
        folder = check_key(prefix) if prefix else None

        def read() -> list[ObjectMeta]:
            pages = obstore.list(self._client, folder)  # pyright: ignore[reportUnknownMemberType]
            return [_meta(entry) for page in pages for entry in page if not hidden(entry["path"])]

        return sorted(self._call(self.uri(prefix), read), key=lambda meta: meta.key)

    def delete(self, key: str) -> None:
        """Remove an object; see :class:`ObjectStore`."""
        self._call(self.uri(key), lambda: obstore.delete(self._client, check_key(key)))

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
        meta, uri = self.head(key), self.uri(key)

        def read(start: int, end: int) -> bytes:
            options: obstore.GetOptions = {"range": (start, end), "if_match": f'"{meta.etag}"'}
            return self._call(uri, lambda: bytes(obstore.get(self._client, key, options=options).bytes()))

        raw = _RangeReader(meta.size, read)
        return cast(BinaryIO, io.BufferedReader(raw, buffer_size=1 << 20))

    def uri(self, key: str = "") -> str:
        """``s3://bucket/prefix/key``; see :class:`ObjectStore`."""
        return f"{self._base}/{check_key(key.rstrip('/'))}" if key else self._base

    def local_path(self, key: str) -> Path | None:
        """None; see :class:`ObjectStore`."""
        check_key(key)

    def _call(self, uri: str, do: Callable[[], Result]) -> Result:
        """The result of a call, repeated where that may help; its errors are those of a store and name the object."""
        try:
            return self._retries.call(uri, do, is_transient)
        except FileNotFoundError:
            raise NotFound(f"{uri} does not exist") from None
        except AlreadyExistsError:
            raise AlreadyExists(f"{uri} exists already") from None
        except PreconditionError:
            raise Conflict(f"{uri}: it was changed or removed meanwhile") from None


class DamagedAnswer(OSError):  # noqa: N818
    """What the server sent is not what it has."""


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed later: errors of the network and of a busy server, and damaged answers."""
    if isinstance(error, GenericError):
        status = _STATUS.search(str(error))
        code = int(status[1]) if status else 500
        return code >= 500 or code in _PASSING or "<Code>RequestTimeout</Code>" in str(error)
    return isinstance(error, DamagedAnswer)


class _RangeReader(io.RawIOBase):
    """Reads ranges of one version of one object."""

    def __init__(self, size: int, read: Callable[[int, int], bytes]):
        super().__init__()
        self._size, self._read, self._position = size, read, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = self._read(self._position, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _of_each_request(retries: Retries) -> Any:
    """What the client does about one request: a fault in a part of a large file need not send all of it again."""
    first = timedelta(seconds=retries.first)
    backoff = {"init_backoff": first / 2, "max_backoff": 4 * first, "base": 2}
    return {"max_retries": 3, "backoff": backoff, "retry_timeout": timedelta(minutes=1)}


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
