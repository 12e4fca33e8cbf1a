"""The Terraform module says what the CloudFormation template says, resource by resource: they cannot drift apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hcl2
import pytest
from cfnlint.decode.cfn_yaml import load

ROOT = Path(__file__).parent.parent
MODULE = ROOT / "docker/aws/terraform"
OPTIONS = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, with_comments=False)
TEMPLATE: dict[str, Any] = load(str(ROOT / "docker/aws/stack.yaml"))
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
ACCOUNT, ARN = "123456789012", "arn:aws:iam::123456789012:role/shop"
IN_TEMPLATE = {
    "Name": "shop",
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "TrustedPrincipalArn": "arn:trusted",
    "VpcId": "vpc",
    "SubnetIds": "subnets",
    "ClientSecurityGroupId": "clients",
    "DatabaseClass": "class",
    "DatabaseSubnets": "subnets-of-database",
    "DatabaseSecurityGroup.GroupId": "group-of-database",
    "Database.Endpoint.Address": "host-of-database",
    **{f"{name}Bucket": f"shop-{name.lower()}-{ACCOUNT}" for name in ("Data", "Cold")},
    **{f"{name}Bucket.Arn": f"arn:aws:s3:::shop-{name.lower()}-{ACCOUNT}" for name in ("Data", "Cold")},
    **{f"{name}Role.Arn": f"{ARN}-{name.lower()}" for name in ("Graph", "Api", "Spark")},
}
"""What references of the template stand for."""
IN_MODULE = {
    "var.name": "shop",
    "data.aws_caller_identity.current.account_id": ACCOUNT,
    "data.aws_partition.current.partition": "aws",
    "data.aws_region.current.region": "eu-central-1",
    "local.account": ACCOUNT,
    "local.spark": f"arn:aws:emr-serverless:eu-central-1:{ACCOUNT}",
    "var.trusted_principal_arn": "arn:trusted",
    "var.vpc_id": "vpc",
    "var.subnet_ids": "subnets",
    "var.client_security_group_id": "clients",
    "var.database_class": "class",
    "aws_db_subnet_group.database.name": "subnets-of-database",
    "aws_security_group.database.id": "group-of-database",
    "aws_db_instance.database.address": "host-of-database",
    **{f"aws_s3_bucket.{name}.id": f"shop-{name}-{ACCOUNT}" for name in ("data", "cold")},
    **{f"aws_s3_bucket.{name}.arn": f"arn:aws:s3:::shop-{name}-{ACCOUNT}" for name in ("data", "cold")},
    **{f"aws_iam_role.{name}.arn": f"{ARN}-{name}" for name in ("graph", "api", "spark")},
    **{f"aws_iam_role.{name}.id": f"shop-{name}" for name in ("graph", "api", "spark")},
}
"""The same for the module."""


def template(node: Any) -> Any:
    """A value of the template with its references filled in."""
    if isinstance(node, list):
        return [template(one) for one in node]
    if not isinstance(node, dict):
        return node
    if "Ref" in node:
        return IN_TEMPLATE[node["Ref"]]
    if "Fn::GetAtt" in node:
        return IN_TEMPLATE[".".join(node["Fn::GetAtt"])]
    if "Fn::Sub" in node:
        return re.sub(r"\$\{([^}]+)\}", lambda found: IN_TEMPLATE[found[1]], node["Fn::Sub"])
    return {str(key): template(value) for key, value in node.items()}


def module(node: Any) -> Any:
    """A value of the module with its references filled in, and documents decoded."""
    if isinstance(node, list):
        return [module(one) for one in node]
    if isinstance(node, dict):
        return {key: module(value) for key, value in node.items()}
    if isinstance(node, str) and node.startswith("${jsonencode("):
        return module(parsed(f"document = {node[len('${jsonencode(') : -len(')}')]}\n")["document"])
    return re.sub(r"\$\{([^}]+)\}", lambda found: IN_MODULE[found[1]], node) if isinstance(node, str) else node


def parsed(text: str) -> dict[str, Any]:
    return hcl2.loads(text, serialization_options=OPTIONS)


FILES = [parsed(path.read_text()) for path in sorted(MODULE.glob("*.tf"))]
MADE: dict[str, Any] = {
    f"{kind}.{name}": {
        key: value if key in ("lifecycle", "depends_on") else module(value) for key, value in body.items()
    }
    for file in FILES
    for block in file.get("resource", ())
    for kind, named in block.items()
    for name, body in named.items()
}
DATABASE = {
    "identifier": "DBInstanceIdentifier",
    "engine": "Engine",
    "engine_version": "EngineVersion",
    "instance_class": "DBInstanceClass",
    "db_name": "DBName",
    "allocated_storage": "AllocatedStorage",
    "storage_type": "StorageType",
    "storage_encrypted": "StorageEncrypted",
    "username": "MasterUsername",
    "manage_master_user_password": "ManageMasterUserPassword",
    "publicly_accessible": "PubliclyAccessible",
    "multi_az": "MultiAZ",
    "backup_retention_period": "BackupRetentionPeriod",
    "deletion_protection": "DeletionProtection",
    "db_subnet_group_name": "DBSubnetGroupName",
    "vpc_security_group_ids": "VPCSecurityGroups",
}


def test_nothing_is_in_one_and_not_in_the_other() -> None:
    parts = ("", "_server_side_encryption_configuration", "_versioning", "_public_access_block", "_ownership_controls")
    buckets = [f"aws_s3_bucket{part}" for part in (*parts, "_lifecycle_configuration", "_policy")]
    made = {f"{kind}.{name}" for kind in buckets for name in ("data", "cold")}
    made |= {f"{kind}.{name}" for kind in ("aws_iam_role", "aws_iam_role_policy") for name in ("graph", "api", "spark")}
    database = ("db_subnet_group", "security_group", "vpc_security_group_ingress_rule", "db_instance")
    assert MADE.keys() == made | {f"aws_{kind}.database" for kind in database}
    of_buckets = {f"{name}Bucket{part}" for name in ("Data", "Cold") for part in ("", "Policy")}
    of_database = {"DatabaseSubnets", "DatabaseSecurityGroup", "Database"}
    assert RESOURCES.keys() == of_buckets | of_database | {"GraphRole", "ApiRole", "SparkRole"}
    assert "NOT APPLIED" in (MODULE / "versions.tf").read_text()


@pytest.mark.parametrize("name", ["data", "cold"])
def test_buckets_are_the_same(name: str) -> None:
    resource = RESOURCES[f"{name.title()}Bucket"]
    stated, said = template(resource["Properties"]), f"aws_s3_bucket{{}}.{name}".format
    assert set(stated) == {
        *("BucketName", "BucketEncryption", "VersioningConfiguration", "PublicAccessBlockConfiguration"),
        *("OwnershipControls", "LifecycleConfiguration"),
    }
    for part in ("_server_side_encryption_configuration", "_versioning", "_public_access_block", "_policy"):
        assert MADE[said(part)]["bucket"] == stated["BucketName"]
    assert MADE[said("")]["bucket"] == stated["BucketName"]
    assert (resource["DeletionPolicy"] == "Retain") is MADE[said("")]["lifecycle"][0]["prevent_destroy"]
    (encryption,) = stated["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    (rule,) = MADE[said("_server_side_encryption_configuration")]["rule"]
    (by_default,) = rule["apply_server_side_encryption_by_default"]
    assert by_default == {"sse_algorithm": encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"]}
    (versioning,) = MADE[said("_versioning")]["versioning_configuration"]
    assert versioning == {"status": stated["VersioningConfiguration"]["Status"]}
    access = {snake(key): value for key, value in stated["PublicAccessBlockConfiguration"].items()}
    assert MADE[said("_public_access_block")] == {"bucket": stated["BucketName"], **access}
    (owner,), (rule,) = stated["OwnershipControls"]["Rules"], MADE[said("_ownership_controls")]["rule"]
    assert rule == {"object_ownership": owner["ObjectOwnership"]}
    lifecycle = MADE[said("_lifecycle_configuration")]
    assert lifecycle["bucket"] == stated["BucketName"]
    assert lifecycle["rule"] == [as_module(rule) for rule in stated["LifecycleConfiguration"]["Rules"]]
    policy = template(RESOURCES[f"{name.title()}BucketPolicy"]["Properties"])
    assert MADE[said("_policy")] == {"bucket": policy["Bucket"], "policy": policy["PolicyDocument"]}


def as_module(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule of a bucket's lifecycle as Terraform writes it."""
    made: dict[str, Any] = {"id": rule["Id"], "status": rule["Status"], "filter": [{}]}
    for key, value in rule.items():
        if key == "Prefix":
            made["filter"] = [{"prefix": value}]
        elif key == "ExpirationInDays":
            made["expiration"] = [{"days": value}]
        elif key == "Transitions":
            made["transition"] = [
                {"storage_class": one["StorageClass"], "days": one["TransitionInDays"]} for one in value
            ]
        elif key in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
            made[snake(key)] = [{snake(name): days for name, days in value.items()}]
        else:
            assert key in ("Id", "Status"), key
    return made


@pytest.mark.parametrize("name", ["graph", "api", "spark"])
def test_roles_may_do_the_same(name: str) -> None:
    stated = template(RESOURCES[f"{name.title()}Role"]["Properties"])
    assert stated.keys() == {"RoleName", "AssumeRolePolicyDocument", "Policies"}
    (policy,) = stated["Policies"]
    assert MADE[f"aws_iam_role.{name}"] == {
        "name": stated["RoleName"],
        "assume_role_policy": stated["AssumeRolePolicyDocument"],
    }
    assert MADE[f"aws_iam_role_policy.{name}"] == {
        "name": policy["PolicyName"],
        "role": stated["RoleName"],
        "policy": policy["PolicyDocument"],
    }


def test_the_database_is_the_same() -> None:
    stated, made = template(RESOURCES["Database"]["Properties"]), dict(MADE["aws_db_instance.database"])
    assert RESOURCES["Database"]["DeletionPolicy"] == "Snapshot"
    assert made.pop("skip_final_snapshot") is False
    assert made.pop("final_snapshot_identifier") == "shop-postgres-final"
    stated["AllocatedStorage"] = int(stated["AllocatedStorage"])
    assert {DATABASE[key]: value for key, value in made.items()} == stated
    subnets, group = template(RESOURCES["DatabaseSubnets"]["Properties"]), MADE["aws_db_subnet_group.database"]
    assert (group["subnet_ids"], group["description"]) == (subnets["SubnetIds"], subnets["DBSubnetGroupDescription"])
    stated, made = template(RESOURCES["DatabaseSecurityGroup"]["Properties"]), MADE["aws_security_group.database"]
    assert (made["vpc_id"], made["description"]) == (stated["VpcId"], stated["GroupDescription"])
    (entry,) = stated["SecurityGroupIngress"]
    assert MADE["aws_vpc_security_group_ingress_rule.database"] == {
        "security_group_id": "group-of-database",
        "ip_protocol": entry["IpProtocol"],
        "from_port": entry["FromPort"],
        "to_port": entry["ToPort"],
        "referenced_security_group_id": entry["SourceSecurityGroupId"],
    }


def test_variables_and_outputs_are_the_same() -> None:
    variables = {name: body for file in FILES for one in file.get("variable", ()) for name, body in one.items()}
    parameters = {snake(name): body for name, body in TEMPLATE["Parameters"].items()}
    assert variables.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert variables[name].get("default") == parameter.get("Default"), name
        assert variables[name].get("description") == parameter.get("Description"), name
        pattern = parameter.get("AllowedPattern")
        checks = [one["condition"] for one in variables[name].get("validation", ())]
        assert checks == ([f'${{can(regex("{pattern}", var.{name}))}}'] if pattern else []), name
    outputs = {name: body for file in FILES for one in file.get("output", ()) for name, body in one.items()}
    stated = {snake(name): template(body["Value"]) for name, body in TEMPLATE["Outputs"].items()}
    assert {name: module(body["value"]) for name, body in outputs.items()} == stated
    (local,) = [one for file in FILES for one in file.get("locals", ())]
    assert {f"local.{name}": module(value) for name, value in local.items()} == {
        name: value for name, value in IN_MODULE.items() if name.startswith("local.")
    }


def snake(name: str) -> str:
    """``BlockPublicAcls`` → ``block_public_acls``."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()
