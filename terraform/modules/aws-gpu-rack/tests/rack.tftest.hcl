# A rack is one node group with the right machines; a rack that cannot be is refused.

mock_provider "aws" {
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
}

variables {
  name               = "gb300-0"
  cluster_name       = "test"
  instance_type      = "p6e-gb300.36xlarge"
  nodes              = 18
  reservation        = "cr-0123456789abcdef0"
  subnet_id          = "subnet-rack"
  security_group_ids = ["sg-cluster", "sg-nodes"]
  node_role_arn      = "arn:aws:iam::123456789012:role/node"
  kms_key_arn        = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "a_whole_nvl72" {
  assert {
    condition     = aws_eks_node_group.this.capacity_type == "CAPACITY_BLOCK" && aws_eks_node_group.this.ami_type == "AL2023_ARM_64_NVIDIA"
    error_message = "GB300 runs in a capacity block, on arm64"
  }
  assert {
    condition     = aws_eks_node_group.this.scaling_config[0].desired_size == 18 && aws_eks_node_group.this.labels["ray.io/gpu-domain"] == "gb300-0"
    error_message = "18 nodes of one domain"
  }
  assert {
    condition     = output.rack == { name = "gb300-0", nodes = 18, gpusPerNode = 4, gpu = "gb300", gpuDomain = "gb300-0", arch = "arm64", efaPerNode = 4 }
    error_message = jsonencode(output.rack)
  }
}

run "one_hgx_machine" {
  variables {
    name          = "h200-0"
    instance_type = "p5en.48xlarge"
    nodes         = 1
    reservation   = null
  }
  assert {
    condition     = aws_eks_node_group.this.capacity_type == "ON_DEMAND" && output.rack.efaPerNode == 16 && output.rack.gpusPerNode == 8
    error_message = jsonencode(output.rack)
  }
}

run "nineteen_nodes_and_a_reservation_that_is_none" {
  command = plan
  variables {
    name        = "Rack 0"
    nodes       = 19
    reservation = "block-7"
    disk_gib    = 8
  }
  expect_failures = [var.name, var.nodes, var.reservation, var.disk_gib]
}

run "p6e_without_a_reservation" {
  command = plan
  variables {
    reservation = null
  }
  expect_failures = [var.reservation]
}

run "two_hgx_machines_in_a_capacity_block_are_no_domain" {
  variables {
    name          = "h200-0"
    instance_type = "p5en.48xlarge"
    nodes         = 2
  }
  assert {
    condition     = aws_eks_node_group.this.capacity_type == "CAPACITY_BLOCK" && aws_eks_node_group.this.scaling_config[0].desired_size == 2
    error_message = "two machines of one capacity block: ${aws_eks_node_group.this.capacity_type}"
  }
  assert {
    condition     = !contains(keys(aws_eks_node_group.this.labels), "ray.io/gpu-domain") && output.rack.gpuDomain == ""
    error_message = "machines that share no NVLink have no common domain: ${jsonencode(aws_eks_node_group.this.labels)}"
  }
}

run "an_on_demand_capacity_reservation" {
  variables {
    instance_type  = "p6-b200.48xlarge"
    nodes          = 2
    capacity_block = false
  }
  assert {
    condition     = aws_eks_node_group.this.capacity_type == "ON_DEMAND"
    error_message = aws_eks_node_group.this.capacity_type
  }
}

run "p6e_is_in_capacity_blocks_only" {
  command = plan
  variables {
    capacity_block = false
  }
  expect_failures = [var.capacity_block]
}
