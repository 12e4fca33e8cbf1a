"""The landing zone of this deployment, listed and read with credentials from ``dagster-aws``."""

from typing import Any, cast
from urllib.parse import urlsplit

import dagster as dg
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError
from dagster_aws.s3 import S3Resource
from dagster_aws.s3.sensor import get_objects

from recsys_assets.core.dataset import load_dataset
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.listing import Listing, Wanted, list_keys, list_landing
from recsys_assets.resources.engine import EngineResource
from recsys_assets.resources.store import StoreResource, s3_options
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.retries import PATIENT
from recsys_assets.storage.uri import open_store

ACCEPTED_ONLY = {"recsys/landing": "accepted"}
"""Tag of runs that read the files that were found whole, rather than whatever is there when they start."""


class LandingResource(dg.ConfigurableResource[LandingZone]):
    """Makes the landing zone that ``uri`` names; one :class:`LandingZone` serves all days of a run."""

    uri: str
    dataset: str
    links: list[str] = []  # noqa: RUF012 (a field of pydantic, which copies it)
    deleted_share: float = 1.0
    s3: dg.ResourceDependency[S3Resource]
    store: dg.ResourceDependency[StoreResource]
    engine: dg.ResourceDependency[EngineResource]

    def create_resource(self, context: dg.InitResourceContext) -> LandingZone:
        """The landing zone with the files that this run reads."""
        return self.zone(only_accepted=context.run is not None and ACCEPTED_ONLY.items() <= context.run.tags.items())

    def zone(self, *, only_accepted: bool = False) -> LandingZone:
        """The landing zone, outside of runs too. The engine is opened with the first day that is read."""
        return LandingZone(
            load_dataset(self.dataset),
            self.store.open(),
            self._open,
            self._list,
            lambda uris, schema: self.engine.open().scan(uris, schema),
            only_accepted=only_accepted,
            most_deleted=self.deleted_share,
        )

    def _open(self) -> ObjectStore:
        return open_store(self.uri, s3_options(self.s3) if self.uri.startswith("s3://") else None)

    def _list(self, wanted: Wanted, under: str) -> Listing:
        if not self.uri.startswith("s3://"):
            return list_landing(self._open(), wanted, under, self.links)
        parts = urlsplit(self.uri)
        prefix = "".join(f"{part}/" for part in (parts.path.strip("/"),) if part)
        below = f"{prefix}{under}/" if under else prefix
        listed = PATIENT.call(
            self.uri, lambda: get_objects(parts.netloc, below, client=self.s3.get_client()), is_transient
        )
        # boto3's stubs leave open whether a listed object has a key and a size.
        objects = cast("list[dict[str, Any]]", listed)
        keys = ((o["Key"].removeprefix(prefix), o["Size"], o["ETag"].strip('"')) for o in objects)
        return list_keys(keys, f"s3://{parts.netloc}/{prefix}".rstrip("/"), wanted)


def is_transient(error: Exception) -> bool:
    """Whether boto3 may succeed later, after an error of the network or of a busy server."""
    if isinstance(error, ClientError):
        answer = cast("dict[str, Any]", error.response)
        status, code = answer["ResponseMetadata"].get("HTTPStatusCode", 500), answer["Error"].get("Code")
        return status >= 500 or code in ("SlowDown", "RequestTimeout", "Throttling")
    return isinstance(error, (HTTPClientError, ConnectionError, IncompleteReadError))
