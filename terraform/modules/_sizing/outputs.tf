output "domains" {
  description = "Groups of machines by name, each an NVLink domain, or machines that are each one: pool, instance_type, availability_zone, nodes, gpus_per_node, efa_interfaces (a node), arch, reservation, capacity_block."
  value       = { for domain in local.domain_list : domain.name => domain }

  precondition {
    condition     = length(local.domain_list) + 1 <= var.node_groups
    error_message = "pools: they make ${length(local.domain_list)} node groups beside the one without GPUs, but a cluster has ${var.node_groups} at most: name fewer reservations, or have the quota raised and say so in node_groups."
  }
}

output "domain_names" {
  description = "Names of these groups, in the order the Helm values keep (worker groups update in place only when new ones come last)."
  value       = local.domain_list[*].name
}

output "subnets" {
  description = "CIDR blocks: `private` and `public` by zone, `racks` by pool with their zone."
  value = {
    private = { for zone in var.availability_zones : zone => local.cidrs["private/${zone}"] }
    public  = { for zone in var.availability_zones : zone => local.cidrs["public/${zone}"] }
    racks = {
      for pool in var.pools : pool.name => { cidr = local.cidrs["rack/${pool.name}"], availability_zone = pool.availability_zone }
    }
  }

  precondition {
    condition     = local.fits
    error_message = "vpc_cidr ${var.vpc_cidr} has ${pow(2, 32 - local.vpc_bits)} addresses but the pools need ${local.addresses}; give a larger network (/16 at most) or fewer addresses_per_node."
  }
}

output "totals" {
  description = "What it comes to: racks (groups), nodes, gpus, efa_interfaces, addresses (in subnets)."
  value = {
    racks          = length(local.domain_list)
    nodes          = sum(concat([0], local.domain_list[*].nodes))
    gpus           = sum(concat([0], [for domain in local.domain_list : domain.nodes * domain.gpus_per_node]))
    efa_interfaces = sum(concat([0], [for domain in local.domain_list : domain.nodes * domain.efa_interfaces]))
    addresses      = local.addresses
  }
}
