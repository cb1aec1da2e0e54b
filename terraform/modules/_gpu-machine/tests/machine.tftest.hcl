# The interfaces, disk and metadata service a GPU machine starts with.

mock_provider "aws" {}

variables {
  name               = "test"
  instance_type      = "p6e-gb300.36xlarge"
  reservation        = "cr-0123456789abcdef0"
  subnet_id          = "subnet-rack"
  security_group_ids = ["sg-nodes"]
  kms_key_arn        = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  disk_gib           = 200
}

run "gb300" {
  assert {
    condition = [for interface in aws_launch_template.this.network_interfaces : "${interface.network_card_index}/${interface.device_index} ${interface.interface_type}"] == [
      "0/0 interface", "1/0 efa-only", "5/0 efa-only", "9/0 efa-only", "13/0 efa-only",
    ]
    error_message = "one address on card 0, and 400 Gb/s of EFA for each of four GPUs: ${jsonencode(aws_launch_template.this.network_interfaces)}"
  }
  assert {
    condition     = aws_launch_template.this.instance_market_options[0].market_type == "capacity-block" && aws_launch_template.this.capacity_reservation_specification[0].capacity_reservation_target[0].capacity_reservation_id == "cr-0123456789abcdef0"
    error_message = "it runs in its capacity block"
  }
  assert {
    condition     = aws_launch_template.this.metadata_options[0].http_tokens == "required"
    error_message = "IMDSv2 only"
  }
  assert {
    condition     = aws_launch_template.this.block_device_mappings[0].ebs[0].encrypted == "true" && aws_launch_template.this.block_device_mappings[0].ebs[0].kms_key_id == var.kms_key_arn
    error_message = "its disk is encrypted with our key"
  }
}

run "h100" {
  variables {
    instance_type = "p5.48xlarge"
    reservation   = null
  }
  assert {
    condition     = length(aws_launch_template.this.network_interfaces) == 32 && aws_launch_template.this.network_interfaces[0].interface_type == "efa" && output.efa_interfaces == 32
    error_message = "32 EFA interfaces, the first with the address"
  }
  assert {
    condition     = length(aws_launch_template.this.instance_market_options) == 0 && length(aws_launch_template.this.capacity_reservation_specification) == 0
    error_message = "no reservation unless given"
  }
}

run "h200_of_a_capacity_block" {
  variables {
    instance_type = "p5en.48xlarge"
  }
  assert {
    condition     = aws_launch_template.this.instance_market_options[0].market_type == "capacity-block"
    error_message = "a reservation is a capacity block unless told otherwise"
  }
}

run "b200_of_an_on_demand_capacity_reservation" {
  variables {
    instance_type  = "p6-b200.48xlarge"
    capacity_block = false
  }
  assert {
    condition     = length(aws_launch_template.this.instance_market_options) == 0 && length(aws_launch_template.this.capacity_reservation_specification) == 1
    error_message = "it targets the reservation, on the plain market"
  }
}
