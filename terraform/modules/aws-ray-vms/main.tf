# What `ray up` needs before it starts machines: launch templates, roles, security groups; and its file, filled in.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  region     = data.aws_region.current.name
  partition  = data.aws_partition.current.partition
  account_id = data.aws_caller_identity.current.account_id
  # As cluster/launch/render.py: 100 GiB beside the weights for system, environment, kernels and logs.
  gpu_disk_gib = max(var.disk_gib, var.weights_gib + 100)
  # Types whose machines share NVLink with others of their group.
  shares_nvlink = { for name, type in jsondecode(file("${path.module}/../_sizing/instance_types.json")) : name => type.nodes_per_domain > 1 }
  ec2           = "arn:${local.partition}:ec2:${local.region}:${local.account_id}"
}

resource "aws_kms_key" "disks" {
  description             = "${var.name}: disks"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = var.tags

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AccountKeepsTheKey"
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

# --- Who reaches the head ----------------------------------------------------------------------------------------

resource "aws_security_group" "head" {
  name        = "${var.name}-head"
  description = "SSH for ray up, and the apps' port"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-head" })
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = toset(var.ssh_cidrs)

  security_group_id = aws_security_group.head.id
  description       = "SSH from where ray up runs"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
}

resource "aws_vpc_security_group_ingress_rule" "apps" {
  for_each = toset(var.app_cidrs)

  security_group_id = aws_security_group.head.id
  description       = "The gateways' endpoint"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 8000
  to_port           = 8000
}

# --- Machines ----------------------------------------------------------------------------------------------------

resource "aws_launch_template" "head" {
  name_prefix            = "${var.name}-head-"
  instance_type          = var.head_instance_type
  image_id               = var.image_ids["x86_64"]
  key_name               = var.key_name
  update_default_version = true
  tags                   = var.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.head.arn
  }

  network_interfaces {
    device_index                = 0
    subnet_id                   = var.head_subnet_id
    security_groups             = [var.nodes_security_group_id, aws_security_group.head.id]
    associate_public_ip_address = "false"
    delete_on_termination       = true
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/sda1"
    ebs {
      volume_type           = "gp3"
      volume_size           = var.disk_gib
      encrypted             = true
      kms_key_id            = aws_kms_key.disks.arn
      delete_on_termination = true
    }
  }
}

module "machine" {
  source   = "../_gpu-machine"
  for_each = var.domains

  name                 = "${var.name}-${each.key}"
  instance_type        = each.value.instance_type
  reservation          = each.value.reservation
  capacity_block       = each.value.capacity_block
  subnet_id            = var.rack_subnet_ids[each.value.pool]
  security_group_ids   = [var.nodes_security_group_id]
  kms_key_arn          = aws_kms_key.disks.arn
  disk_gib             = local.gpu_disk_gib
  image_id             = var.image_ids[each.value.arch]
  instance_profile_arn = aws_iam_instance_profile.worker.arn
  key_name             = var.key_name
  root_device          = "/dev/sda1"
  tags                 = var.tags
}
