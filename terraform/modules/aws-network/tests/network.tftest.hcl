# What is open, to whom, and what bad values are told.

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
    defaults = { arn = "arn:aws:logs:us-east-1:123456789012:log-group:/rackserve/test/flow" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/test" }
  }
}

variables {
  name     = "test"
  vpc_cidr = "10.0.0.0/16"
  subnets = {
    private = { us-east-1a = "10.0.16.0/24", us-east-1b = "10.0.17.0/24" }
    public  = { us-east-1a = "10.0.18.0/28", us-east-1b = "10.0.18.16/28" }
    racks   = { gb300 = { cidr = "10.0.0.0/22", availability_zone = "us-east-1b" } }
  }
}

run "closed_by_default" {
  assert {
    condition     = length(aws_internet_gateway.this) == 0 && length(aws_nat_gateway.this) == 0 && length(aws_subnet.public) == 0 && length(aws_route.public) == 0
    error_message = "nothing leads out of or into the VPC unless asked for"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.nodes_self.referenced_security_group_id == aws_security_group.nodes.id && aws_vpc_security_group_ingress_rule.nodes_self.cidr_ipv4 == null
    error_message = "nodes hear nobody but nodes"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.endpoints.cidr_ipv4 == "10.0.0.0/16"
    error_message = "endpoints answer the VPC only"
  }
  assert {
    condition     = aws_kms_key.logs.enable_key_rotation && aws_cloudwatch_log_group.flow.kms_key_id == aws_kms_key.logs.arn
    error_message = "flow logs are encrypted with a key that rotates"
  }
  assert {
    condition     = aws_route_table_association.rack["gb300"].route_table_id == aws_route_table.private["us-east-1b"].id
    error_message = "a rack routes as its own zone does"
  }
}

run "public_endpoint_when_asked_for" {
  variables {
    public = true
  }
  assert {
    condition     = aws_subnet.public["us-east-1a"].tags["kubernetes.io/role/elb"] == "1" && !aws_subnet.public["us-east-1a"].map_public_ip_on_launch
    error_message = "load balancers find the public subnets, and no machine gets a public address in them"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_route.egress) == 0
    error_message = "a way in is no way out"
  }
}

run "named_networks_outside" {
  variables {
    egress_cidrs = ["203.0.113.0/24", "198.51.100.0/24"]
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 2 && length(aws_route.egress) == 4 && length(aws_vpc_security_group_egress_rule.nodes_outside) == 2
    error_message = "one NAT gateway a zone, a route and a rule for each network"
  }
  assert {
    condition     = toset(keys(aws_route.public)) == toset(["203.0.113.0/24", "198.51.100.0/24"])
    error_message = "the public route table knows those networks and no other"
  }
}

# All at once: each must be told, whatever else is wrong.
run "bad_values_are_told" {
  command = plan
  variables {
    name               = "My Cluster"
    vpc_cidr           = "10.0.0.0/8"
    subnets            = { private = { us-east-1a = "10.0.16.0/24" }, public = {}, racks = {} }
    egress_cidrs       = ["0.0.0.0/0"]
    log_retention_days = 91
  }
  expect_failures = [var.name, var.vpc_cidr, var.subnets, var.egress_cidrs, var.log_retention_days]
}
