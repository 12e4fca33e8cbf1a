# The same as ../stack.yaml, for those who use Terraform. Parsed, formatted and compared with it by a test; NOT APPLIED here.
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  spark   = "arn:${data.aws_partition.current.partition}:emr-serverless:${data.aws_region.current.region}:${local.account}"
}
