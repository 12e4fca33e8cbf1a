"""The CloudFormation template: lint, a stack on moto's server, and the store in the bucket that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import yaml
from cfnlint.api import lint_file
from cfnlint.decode.cfn_yaml import load

from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.s3_servers import S3Server

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "docker/aws/stack.yaml"


def test_the_template_passes_cfn_lint() -> None:
    assert [str(fault) for fault in lint_file(TEMPLATE)] == []


def test_what_moto_does_not_make_is_declared() -> None:
    """moto's CloudFormation leaves versioning, lifecycle, access blocks and policies of buckets out."""
    resources = load(str(TEMPLATE))["Resources"]
    for bucket in (resources["DataBucket"]["Properties"], resources["ColdBucket"]["Properties"]):
        assert bucket["VersioningConfiguration"]["Status"] == "Enabled"
        assert all(bucket["PublicAccessBlockConfiguration"].values())
        rules = bucket["LifecycleConfiguration"]["Rules"]
        assert any(rule.get("NoncurrentVersionExpiration") == {"NoncurrentDays": 14} for rule in rules)
    for policy in (resources["DataBucketPolicy"]["Properties"], resources["ColdBucketPolicy"]["Properties"]):
        (denied,) = policy["PolicyDocument"]["Statement"]
        assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    database = resources["Database"]["Properties"]
    assert (database["StorageEncrypted"], database["ManageMasterUserPassword"]) == (True, True)
    assert not database["PubliclyAccessible"]


def test_a_stack_makes_buckets_that_a_release_is_published_to_and_roles_with_least_privilege(
    moto_process: S3Server, tmp_path: Path
) -> None:
    options = moto_process.options

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=options.endpoint,
            region_name=options.region,
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
        )

    ec2, formation, s3, iam = client("ec2"), client("cloudformation"), client("s3"), client("iam")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{options.region}{zone}")["Subnet"]
        for n, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc)["GroupId"]
    given = {
        "Name": "shop",
        "VpcId": vpc,
        "SubnetIds": ",".join(subnet["SubnetId"] for subnet in subnets),
        "ClientSecurityGroupId": group,
        "TrustedPrincipalArn": "arn:aws:iam::123456789012:role/nodes",
    }
    formation.create_stack(
        StackName="recsys",
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
    )
    (stack,) = formation.describe_stacks(StackName="recsys")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    for uri in (outputs["StorageUri"], outputs["ColdUri"]):
        bucket = uri.split("/")[2]
        (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"

    def statements(role: str, policy: str) -> list[dict[str, Any]]:
        # moto returns what it was given as Python writes it, which YAML reads.
        return yaml.safe_load(iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"])["Statement"]

    writes = [of for of in statements("shop-api", "releases") if "s3:PutObject" in of["Action"]]
    assert {arn.split(":::shop-data-")[1].partition("/")[2] for of in writes for arn in of["Resource"]} == {
        "landing/served/*",
        "store/erasures/requests/*",
    }
    for role in ("shop-graph", "shop-api", "shop-spark"):
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            for of in statements(role, name):
                assert "*" not in (of["Action"] if isinstance(of["Action"], list) else [of["Action"]])
                assert of["Resource"] != "*"
    releases = Releases(open_store(outputs["StorageUri"], options))
    (tmp_path / "lists").write_text("lists")
    published = releases.publish("2015-08-01", {"lists": tmp_path / "lists"}, {}).release_id
    pointer = releases.current()
    assert pointer is not None
    assert pointer.release_id == published
