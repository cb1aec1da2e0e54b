# One launch template: how a GPU machine is started, the same for EKS nodes and for `ray up`.

locals {
  shape = jsondecode(file("${path.module}/../_sizing/instance_types.json"))[var.instance_type]

  # The address is on card 0; EFA-only interfaces take no address. Which cards carry EFA at full speed is the type's own
  # (AWS, "Maximize network bandwidth on EC2 instances with multiple network cards").
  interfaces = concat(
    [{ card = 0, device = 0, type = local.shape.primary }],
    [for card in local.shape.efa_cards : { card = card, device = local.shape.efa_device_index, type = "efa-only" }],
  )
}

resource "aws_launch_template" "this" {
  name_prefix            = "${var.name}-"
  instance_type          = var.instance_type
  image_id               = var.image_id
  key_name               = var.key_name
  user_data              = var.user_data == "" ? null : base64encode(var.user_data)
  update_default_version = true
  tags                   = var.tags

  dynamic "iam_instance_profile" {
    for_each = var.instance_profile_arn == null ? [] : [var.instance_profile_arn]
    content {
      arn = iam_instance_profile.value
    }
  }

  # Capacity blocks are a market of their own; machines of on-demand capacity reservations are plain ones.
  dynamic "instance_market_options" {
    for_each = var.reservation != null && var.capacity_block ? ["capacity-block"] : []
    content {
      market_type = instance_market_options.value
    }
  }

  dynamic "capacity_reservation_specification" {
    for_each = var.reservation == null ? [] : [var.reservation]
    content {
      capacity_reservation_target {
        capacity_reservation_id = capacity_reservation_specification.value
      }
    }
  }

  dynamic "network_interfaces" {
    for_each = local.interfaces
    content {
      network_card_index          = network_interfaces.value.card
      device_index                = network_interfaces.value.device
      interface_type              = network_interfaces.value.type
      subnet_id                   = var.subnet_id
      security_groups             = var.security_group_ids
      associate_public_ip_address = network_interfaces.value.card == 0 ? "false" : null
      delete_on_termination       = true
    }
  }

  # Session tokens only; one hop keeps containers out.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = var.root_device
    ebs {
      volume_type           = "gp3"
      volume_size           = var.disk_gib
      throughput            = 1000
      iops                  = 6000
      encrypted             = true
      kms_key_id            = var.kms_key_arn
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])
    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = var.name })
    }
  }
}
