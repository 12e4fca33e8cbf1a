"""The object store of this deployment, with credentials from ``dagster-aws``."""

import json
from typing import Any

import boto3
import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import PrivateAttr

from recsys_assets.storage.identity import Identity, check_identity
from recsys_assets.storage.layout import check_layout
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.s3_options import S3Options
from recsys_assets.storage.stated import Stated, Statements
from recsys_assets.storage.uri import open_store


class StoreResource(dg.ConfigurableResource[Any]):
    """Opens the store that ``uri`` names; ``s3://`` through the credentials that the S3 resource finds."""

    uri: str
    identity: str = ""
    """Of the graph that uses the store, as :meth:`Identity.to_json` writes it; empty: it takes any store."""
    stated: str = ""
    """What decides the bytes of the graph's assets, as JSON of :class:`Stated`; empty: records are not compared."""
    s3: dg.ResourceDependency[S3Resource]
    _opened: ObjectStore | None = PrivateAttr(default=None)
    _statements: Statements | None = PrivateAttr(default=None)

    def open(self) -> ObjectStore:
        """The store; opened once, since making an S3 client costs far more than a request.

        Raises:
            LayoutError: another version of the platform wrote it.
            IdentityError: it holds another data set, or ids of other types.
        """
        if self._opened is None:
            store = open_store(self.uri, s3_options(self.s3) if self.uri.startswith("s3://") else None)
            check_layout(store)
            if self.identity:
                check_identity(store, Identity.from_json(self.identity))
            self._opened = store
        return self._opened

    def partitions(self) -> PartitionStore:
        """The partitions in it, compared with what is stated now."""
        if self._statements is None and self.stated:
            self._statements = Statements(self.open(), Stated.parse(json.loads(self.stated)))
        return PartitionStore(self.open(), self._statements)

    def releases(self) -> Releases:
        """The releases in it."""
        return Releases(self.open())


def s3_options(s3: S3Resource) -> S3Options:
    """Endpoint, region and credentials of an S3 resource.

    Keys are handed on only where the resource states them or a profile. Otherwise they stay out, so that boto3's chain
    finds them (environment, instance role, SSO …) and renews them in a long run.
    """
    meta = s3.get_client().meta
    credentials = None
    if s3.aws_access_key_id or s3.profile_name:
        session = boto3.Session(
            profile_name=s3.profile_name,
            aws_access_key_id=s3.aws_access_key_id,
            aws_secret_access_key=s3.aws_secret_access_key,
            aws_session_token=s3.aws_session_token,
        )
        credentials = session.get_credentials()
    frozen = credentials.get_frozen_credentials() if credentials else None
    return S3Options(
        endpoint=meta.endpoint_url,
        region=meta.region_name,
        access_key_id=frozen.access_key if frozen else None,
        secret_access_key=frozen.secret_key if frozen else None,
        session_token=frozen.token if frozen else None,
    )
