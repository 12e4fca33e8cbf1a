"""The object store of this deployment, with credentials from ``dagster-aws``."""

import boto3
import dagster as dg
from dagster_aws.s3 import S3Resource

from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.partitions import PartitionStore
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.s3 import S3Options
from recsys_assets.storage.uri import open_store


class StoreResource(dg.ConfigurableResource):
    """Opens the store that ``uri`` names; ``s3://`` through the credentials that the S3 resource finds."""

    uri: str
    s3: dg.ResourceDependency[S3Resource]

    def open(self) -> ObjectStore:
        """The store."""
        return open_store(self.uri, s3_options(self.s3) if self.uri.startswith("s3://") else None)

    def partitions(self) -> PartitionStore:
        """The partitions in it."""
        return PartitionStore(self.open())

    def releases(self) -> Releases:
        """The releases in it."""
        return Releases(self.open())


def s3_options(s3: S3Resource) -> S3Options:
    """What boto3's chain (environment, profile, instance role …) resolves for an S3 resource."""
    session = boto3.Session(
        profile_name=s3.profile_name,
        region_name=s3.region_name,
        aws_access_key_id=s3.aws_access_key_id,
        aws_secret_access_key=s3.aws_secret_access_key,
        aws_session_token=s3.aws_session_token,
    )
    client = s3.get_client()
    found = session.get_credentials()
    frozen = found.get_frozen_credentials() if found else None
    return S3Options(
        endpoint=client.meta.endpoint_url,
        region=client.meta.region_name,
        access_key_id=frozen.access_key if frozen else None,
        secret_access_key=frozen.secret_key if frozen else None,
        session_token=frozen.token if frozen else None,
    )
