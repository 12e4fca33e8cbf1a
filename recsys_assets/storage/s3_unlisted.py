"""What a bucket holds and no listing of objects shows: parts of unfinished uploads, and versions of before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import Any, cast

from recsys_assets.storage.objects import hidden
from recsys_assets.storage.s3_options import S3Options


class Unlisted:
    """Asks through boto3, since obstore knows neither uploads nor versions; the client is made when it is needed.

    Args:
        bucket: its name.
        options: endpoint and credentials.
    """

    def __init__(self, bucket: str, options: S3Options):
        self._bucket, self._options = bucket, options

    def names(self, prefix: str) -> list[str]:
        """Unfinished uploads, versions of before and hidden objects below a prefix."""
        uploads = [f"unfinished upload of s3://{self._bucket}/{upload['Key']}" for upload in self._uploads(prefix)]
        versions = list(self._versions(prefix))
        past = [f"s3://{self._bucket}/{v['Key']}, version {v['VersionId']}" for v in versions if not v["IsLatest"]]
        dotted = [
            f"s3://{self._bucket}/{version['Key']}"
            for version in versions
            if version["IsLatest"] and hidden(version["Key"].removeprefix(prefix))
        ]
        return [*uploads, *past, *dotted]

    def sweep(self, prefix: str, before: datetime, *, history: bool) -> list[str]:
        """Abort the uploads that began before a time; with ``history``, delete the versions of before as well."""
        removed: list[str] = []
        for upload in [upload for upload in self._uploads(prefix) if upload["Initiated"] <= before]:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            removed.append(f"unfinished upload of s3://{self._bucket}/{upload['Key']}")
        for version in [version for version in self._versions(prefix) if history and not version["IsLatest"]]:
            self._client.delete_object(Bucket=self._bucket, Key=version["Key"], VersionId=version["VersionId"])
            removed.append(f"s3://{self._bucket}/{version['Key']}, version {version['VersionId']}")
        return removed

    def _uploads(self, prefix: str) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            yield from page.get("Uploads", [])

    def _versions(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Every version of every object; one without versioning has one. A mark of deletion holds nothing."""
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            yield from page.get("Versions", [])

    @cached_property
    def _client(self) -> Any:
        import boto3  # half a second, for which only erasures and the start of a command have use
        from botocore.config import Config

        options = self._options
        style = {"addressing_style": "path" if options.path_style else "virtual"}
        return cast(
            Any,
            boto3.client(
                "s3",
                endpoint_url=options.endpoint,
                region_name=options.region,
                aws_access_key_id=options.access_key_id,
                aws_secret_access_key=options.secret_access_key,
                aws_session_token=options.session_token,
                config=Config(s3=style),
            ),
        )
