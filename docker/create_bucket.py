"""Create the bucket that the platform keeps its data in; a bucket that is there already is left as it is.

A one-shot job of compose.yaml. Reads ``RECSYS_BUCKET`` and the usual ``AWS_*`` variables.
"""

import os

import boto3
from botocore.exceptions import ClientError


def create_bucket(name: str) -> bool:
    """Create the bucket; returns whether it was missing."""
    client = boto3.client("s3")
    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=name)
        return True
    return False


if __name__ == "__main__":
    bucket = os.environ["RECSYS_BUCKET"]
    print(f"bucket {bucket}: {'created' if create_bucket(bucket) else 'there already'}")  # noqa: T201 - the job's log
