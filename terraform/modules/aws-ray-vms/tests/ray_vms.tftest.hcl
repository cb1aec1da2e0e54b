# The launch file is filled in, the head may do no more than its work, and bad values are told.

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
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/test" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/test" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", arn = "arn:aws:ec2:us-east-1:123456789012:launch-template/lt-0123456789abcdef0", latest_version = 3 }
  }
}

variables {
  name                    = "racks"
  vpc_id                  = "vpc-1"
  head_subnet_id          = "subnet-head"
  rack_subnet_ids         = { gb300 = "subnet-gb300" }
  nodes_security_group_id = "sg-nodes"
  key_name                = "ops"
  ssh_cidrs               = ["10.0.0.0/8"]
  image_ids               = { x86_64 = "ami-0123456789abcdef0", arm64 = "ami-0123456789abcdef1" }
  domains = {
    gb300-0 = { pool = "gb300", instance_type = "p6e-gb300.36xlarge", nodes = 18, gpus_per_node = 4, efa_interfaces = 4, arch = "arm64", reservation = "cr-00000000000000001" }
    gb300-1 = { pool = "gb300", instance_type = "p6e-gb300.36xlarge", nodes = 18, gpus_per_node = 4, efa_interfaces = 4, arch = "arm64", reservation = "cr-00000000000000002" }
  }
}

run "disks_have_room_for_the_weights" {
  variables {
    weights_gib = 660
  }
  assert {
    condition     = output.gpu_disk_gib == 760
    error_message = "weights and 100 GiB beside: ${output.gpu_disk_gib}"
  }
  assert {
    condition     = aws_launch_template.head.block_device_mappings[0].ebs[0].volume_size == 500
    error_message = "the head has no weights: ${aws_launch_template.head.block_device_mappings[0].ebs[0].volume_size}"
  }
}

run "two_racks" {
  assert {
    condition     = output.launch_file == file("${path.module}/tests/launch_file.golden.yaml")
    error_message = output.launch_file
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.apps) == 0 && keys(aws_vpc_security_group_ingress_rule.ssh) == ["10.0.0.0/8"]
    error_message = "only the operators' network gets in unless apps are named"
  }
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.head.policy).Statement : statement.Resource != "*" || statement.Sid == "Look"
    ])
    error_message = "the head's rights name what they are for: ${aws_iam_role_policy.head.policy}"
  }
  assert {
    condition     = aws_launch_template.head.metadata_options[0].http_tokens == "required" && aws_launch_template.head.block_device_mappings[0].ebs[0].encrypted == "true"
    error_message = "IMDSv2 only, disks encrypted"
  }
}

run "eight_gpu_machines_share_no_domain" {
  variables {
    rack_subnet_ids = { h200 = "subnet-h200" }
    domains = {
      h200-0 = { pool = "h200", instance_type = "p5en.48xlarge", nodes = 40, gpus_per_node = 8, efa_interfaces = 16, arch = "x86_64", reservation = "cr-00000000000000001" }
    }
  }
  assert {
    condition     = yamldecode(output.launch_file).available_node_types["h200-0"].labels == { "rackserve.io/pool" = "gpu" }
    error_message = output.launch_file
  }
  assert {
    condition     = endswith(yamldecode(output.launch_file).worker_start_ray_commands[1], "--labels=ray.io/gpu-domain=$(hostname -s)")
    error_message = output.launch_file
  }
}

run "bad_values_are_told" {
  command = plan
  variables {
    name                = "-"
    rack_subnet_ids     = {}
    ssh_cidrs           = ["0.0.0.0/0"]
    app_cidrs           = ["everywhere"]
    head_instance_type  = "p5.48xlarge"
    image_ids           = { x86_64 = "ami-0123456789abcdef0" }
    weights_bucket_arns = ["weights"]
    disk_gib            = 10
    weights_gib         = -1
  }
  expect_failures = [
    var.name, var.rack_subnet_ids, var.ssh_cidrs, var.app_cidrs, var.head_instance_type, var.image_ids, var.weights_bucket_arns, var.disk_gib, var.weights_gib,
  ]
}
