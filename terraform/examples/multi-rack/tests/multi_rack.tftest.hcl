# Two NVL72 racks beside two H200 machines, open to the internet, give the golden output.

mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:123456789012:log-group:test" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/test" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
  mock_resource "aws_eks_cluster" {
    defaults = {
      arn      = "arn:aws:eks:us-east-1:123456789012:cluster/test"
      identity = [{ oidc = [{ issuer = "https://oidc.eks.us-east-1.amazonaws.com/id/0" }] }]
    }
  }
}

run "two_racks_and_two_machines" {
  variables {
    public_endpoint = true
    pools = [
      { name = "gb300", instance_type = "p6e-gb300.36xlarge", nodes = 36, availability_zone = "us-east-1a", reservations = ["cr-00000000000000001", "cr-00000000000000002"] },
      { name = "h200", instance_type = "p5en.48xlarge", nodes = 2, availability_zone = "us-east-1b" },
    ]
  }
  assert {
    condition     = jsonencode(output.plan) == jsonencode(jsondecode(file("${path.module}/tests/plan.golden.json")))
    error_message = jsonencode(output.plan)
  }
}

run "forty_machines_of_one_capacity_block" {
  variables {
    pools = [{ name = "h200", instance_type = "p5en.48xlarge", nodes = 40, availability_zone = "us-east-1b", reservations = ["cr-00000000000000001"] }]
  }
  assert {
    condition     = [for rack in output.plan.racks : "${rack.name} ${rack.nodes} ${rack.gpuDomain}"] == ["h200-0 40 "]
    error_message = "forty machines are one node group without a common domain: ${jsonencode(output.plan.racks)}"
  }
  assert {
    condition     = module.sizing.domains["h200-0"].capacity_block
    error_message = jsonencode(module.sizing.domains)
  }
}

run "a_pool_of_another_region" {
  command = plan
  variables {
    pools = [{ name = "h200", instance_type = "p5en.48xlarge", nodes = 2, availability_zone = "eu-west-1a" }]
  }
  expect_failures = [var.pools]
}
