output "domains" {
  description = "NVLink domains by name, each: pool, instance_type, availability_zone, nodes, gpus_per_node, gpus, efa_interfaces (a node), arch, reservation."
  value       = { for domain in local.domain_list : domain.name => domain }
}

output "domain_names" {
  description = "Names of the domains, in the order the Helm values keep (worker groups update in place only when new ones come last)."
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
  description = "What it comes to: racks, nodes, gpus, efa_interfaces, addresses (in subnets)."
  value = {
    racks          = length(local.domain_list)
    nodes          = sum(concat([0], local.domain_list[*].nodes))
    gpus           = sum(concat([0], local.domain_list[*].gpus))
    efa_interfaces = sum(concat([0], [for domain in local.domain_list : domain.nodes * domain.efa_interfaces]))
    addresses      = local.addresses
  }
}
