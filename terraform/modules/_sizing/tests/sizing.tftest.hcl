# Arithmetic on good pools, and a refusal for each kind of bad one.

variables {
  availability_zones = ["us-east-1a", "us-east-1b"]
}

run "a_gb300_rack_is_one_domain_of_72_gpus" {
  command = plan
  variables {
    pools = [{ name = "gb300", instance_type = "p6e-gb300.36xlarge", nodes = 18, availability_zone = "us-east-1a", reservations = ["cr-0123456789abcdef0"] }]
  }
  assert {
    condition     = output.totals.racks == 1 && output.totals.nodes == 18 && output.totals.gpus == 72 && output.totals.efa_interfaces == 72
    error_message = "one rack is 18 nodes, 72 GPUs and 4 EFA interfaces a node, not ${jsonencode(output.totals)}"
  }
  assert {
    condition     = output.domains["gb300-0"].arch == "arm64" && output.domains["gb300-0"].reservation == "cr-0123456789abcdef0"
    error_message = "the rack's domain is ${jsonencode(output.domains)}"
  }
}

run "racks_and_single_nodes_together" {
  command = plan
  variables {
    pools = [
      { name = "gb200", instance_type = "p6e-gb200.36xlarge", nodes = 36, availability_zone = "us-east-1b", reservations = ["cr-00000000000000001", "cr-00000000000000002"] },
      { name = "h200", instance_type = "p5en.48xlarge", nodes = 3, availability_zone = "us-east-1a" },
    ]
  }
  assert {
    condition     = output.domain_names == ["gb200-0", "gb200-1", "h200-0"] && output.domains["h200-0"].nodes == 3
    error_message = "domains keep the pools' order, not ${jsonencode(output.domain_names)}"
  }
  assert {
    condition     = output.totals.gpus == 2 * 72 + 3 * 8 && output.totals.efa_interfaces == 36 * 4 + 3 * 16
    error_message = jsonencode(output.totals)
  }
  assert {
    condition     = output.domains["gb200-1"].reservation == "cr-00000000000000002" && output.domains["h200-0"].reservation == null && !output.domains["h200-0"].capacity_block
    error_message = "reservations go to racks in their order: ${jsonencode(output.domains)}"
  }
}

run "subnets_do_not_overlap_and_hold_their_nodes" {
  command = plan
  variables {
    vpc_cidr = "10.0.0.0/18"
    pools = [
      { name = "h100", instance_type = "p5.48xlarge", nodes = 100, availability_zone = "us-east-1a" },
      { name = "b200", instance_type = "p6-b200.48xlarge", nodes = 1, availability_zone = "us-east-1b" },
    ]
  }
  assert {
    condition     = output.subnets.racks["h100"].cidr == "10.0.0.0/20" && output.subnets.racks["b200"].cidr == "10.0.18.0/26"
    error_message = "100 nodes of 32 addresses need a /20, one node a /26: ${jsonencode(output.subnets)}"
  }
  assert {
    condition     = output.subnets.private["us-east-1a"] == "10.0.16.0/24" && output.subnets.private["us-east-1b"] == "10.0.17.0/24"
    error_message = jsonencode(output.subnets)
  }
}

run "no_gpus_at_all_is_fine" {
  command = plan
  assert {
    condition     = output.totals.racks == 0 && output.totals.gpus == 0 && length(output.subnets.private) == 2
    error_message = jsonencode(output.totals)
  }
}

run "nineteen_nodes_are_no_rack" {
  command = plan
  variables {
    pools = [{ name = "gb300", instance_type = "p6e-gb300.36xlarge", nodes = 19, availability_zone = "us-east-1a", reservations = ["cr-00000000000000001", "cr-00000000000000002"] }]
  }
  expect_failures = [var.pools]
}

run "p6e_without_a_reservation" {
  command = plan
  variables {
    pools = [{ name = "gb300", instance_type = "p6e-gb300.36xlarge", nodes = 18, availability_zone = "us-east-1a" }]
  }
  expect_failures = [var.pools]
}

run "one_reservation_for_two_racks" {
  command = plan
  variables {
    pools = [{ name = "gb300", instance_type = "p6e-gb300.36xlarge", nodes = 36, availability_zone = "us-east-1a", reservations = ["cr-00000000000000001"] }]
  }
  expect_failures = [var.pools]
}

run "a_reservation_for_two_pools" {
  command = plan
  variables {
    pools = [
      { name = "a", instance_type = "p6e-gb300.36xlarge", nodes = 18, availability_zone = "us-east-1a", reservations = ["cr-00000000000000001"] },
      { name = "b", instance_type = "p6e-gb300.36xlarge", nodes = 18, availability_zone = "us-east-1a", reservations = ["cr-00000000000000001"] },
    ]
  }
  expect_failures = [var.pools]
}

run "an_instance_type_nobody_knows" {
  command = plan
  variables {
    pools = [{ name = "x", instance_type = "p6e-gb30.36xlarge", nodes = 1, availability_zone = "us-east-1a" }]
  }
  expect_failures = [var.pools]
}

run "a_zone_the_cluster_does_not_use" {
  command = plan
  variables {
    pools = [{ name = "x", instance_type = "p5.48xlarge", nodes = 1, availability_zone = "us-east-1f" }]
  }
  expect_failures = [var.pools]
}

run "one_zone_is_too_few" {
  command = plan
  variables {
    availability_zones = ["us-east-1a"]
  }
  expect_failures = [var.availability_zones]
}

run "a_network_that_is_none" {
  command = plan
  variables {
    vpc_cidr = "10.0.0.0/8"
  }
  expect_failures = [var.vpc_cidr]
}

run "a_network_too_small_for_the_pools" {
  command = plan
  variables {
    vpc_cidr = "10.0.0.0/24"
    pools    = [{ name = "h100", instance_type = "p5.48xlarge", nodes = 8, availability_zone = "us-east-1a" }]
  }
  expect_failures = [output.subnets]
}

run "eight_gpu_machines_share_reservations" {
  command = plan
  variables {
    pools = [
      { name = "one", instance_type = "p5en.48xlarge", nodes = 5, availability_zone = "us-east-1a", reservations = ["cr-00000000000000001"] },
      { name = "two", instance_type = "p6-b200.48xlarge", nodes = 6, availability_zone = "us-east-1a", reservations = ["cr-00000000000000002", "cr-00000000000000003"] },
      { name = "plain", instance_type = "p5.48xlarge", nodes = 2, availability_zone = "us-east-1a", reservations = ["cr-00000000000000004"], capacity_block = false },
    ]
  }
  assert {
    condition = { for name, domain in output.domains : name => "${domain.nodes} in ${domain.reservation} ${domain.capacity_block}" } == {
      one-0   = "5 in cr-00000000000000001 true", two-0 = "3 in cr-00000000000000002 true", two-1 = "3 in cr-00000000000000003 true",
      plain-0 = "2 in cr-00000000000000004 false",
    }
    error_message = jsonencode(output.domains)
  }
}

run "forty_machines_are_one_group_and_a_thousand_three" {
  command = plan
  variables {
    pools = [
      { name = "forty", instance_type = "p5en.48xlarge", nodes = 40, availability_zone = "us-east-1b" },
      { name = "many", instance_type = "p5en.48xlarge", nodes = 1000, availability_zone = "us-east-1b" },
    ]
    addresses_per_node = 8
  }
  assert {
    condition     = { for name, domain in output.domains : name => domain.nodes } == { forty-0 = 40, many-0 = 334, many-1 = 333, many-2 = 333 } && output.totals.nodes == 1040
    error_message = jsonencode(output.domains)
  }
}

run "reservations_of_unequal_shares" {
  command = plan
  variables {
    pools = [{ name = "h200", instance_type = "p5en.48xlarge", nodes = 5, availability_zone = "us-east-1a", reservations = ["cr-00000000000000001", "cr-00000000000000002"] }]
  }
  expect_failures = [var.pools]
}

run "p6e_is_in_capacity_blocks_only" {
  command = plan
  variables {
    pools = [{ name = "gb300", instance_type = "p6e-gb300.36xlarge", nodes = 18, availability_zone = "us-east-1a", reservations = ["cr-00000000000000001"], capacity_block = false }]
  }
  expect_failures = [var.pools]
}

run "more_groups_than_the_quota" {
  command = plan
  variables {
    pools       = [{ name = "h200", instance_type = "p5en.48xlarge", nodes = 4, availability_zone = "us-east-1a", reservations = ["cr-00000000000000001", "cr-00000000000000002"] }]
    node_groups = 2
  }
  expect_failures = [output.domains]
}
