# Pure arithmetic: what a list of pools comes to. No provider, no resource.

locals {
  instance_types = jsondecode(file("${path.module}/instance_types.json"))

  # Machines that share NVLink are a group of their own for each domain. Others only share a template: their group is what
  # one reservation holds, or all of the pool, as far as one EKS node group goes.
  groups_in = {
    for pool in var.pools : pool.name => (
      local.instance_types[pool.instance_type].nodes_per_domain > 1
      ? ceil(pool.nodes / local.instance_types[pool.instance_type].nodes_per_domain)
      : max(length(pool.reservations), ceil(pool.nodes / local.nodes_per_group))
    )
  }
  nodes_per_group = 450 # EKS' quota "Nodes per managed node group"

  # One entry a group of machines, in the order of the pools.
  domain_list = flatten([
    for pool in var.pools : [
      for index in range(local.groups_in[pool.name]) : {
        name              = "${pool.name}-${index}"
        pool              = pool.name
        instance_type     = pool.instance_type
        availability_zone = pool.availability_zone
        nodes             = floor(pool.nodes / local.groups_in[pool.name]) + (index < pool.nodes % local.groups_in[pool.name] ? 1 : 0)
        gpus_per_node     = local.instance_types[pool.instance_type].gpus
        efa_interfaces    = local.efa_per_node[pool.instance_type]
        arch              = local.instance_types[pool.instance_type].arch
        reservation       = try(pool.reservations[index], null)
        capacity_block    = length(pool.reservations) > 0 && pool.capacity_block
      }
    ]
  ])

  # A primary interface of type `efa` is one more EFA device beside the EFA-only ones.
  efa_per_node = { for name, type in local.instance_types : name => length(type.efa_cards) + (type.primary == "efa" ? 1 : 0) }

  # Subnets, by how many addresses each needs; AWS keeps five of every subnet, and the smallest it makes is a /28.
  vpc_bits = tonumber(split("/", var.vpc_cidr)[1])
  needs = merge(
    { for pool in var.pools : "rack/${pool.name}" => pool.nodes * var.addresses_per_node + 5 },
    { for zone in var.availability_zones : "private/${zone}" => var.cpu_nodes * var.addresses_per_node + 5 },
    { for zone in var.availability_zones : "public/${zone}" => 16 },
  )
  prefix_bits = { for name, count in local.needs : name => min(28, 32 - ceil(log(count, 2))) }

  # Largest first, so that nothing is lost to alignment; two digits sort as numbers.
  in_order  = [for key in sort([for name, bits in local.prefix_bits : format("%02d %s", bits, name)]) : split(" ", key)[1]]
  addresses = sum([for bits in values(local.prefix_bits) : pow(2, 32 - bits)])
  fits      = local.addresses <= pow(2, 32 - local.vpc_bits)
  cut       = local.fits ? cidrsubnets(var.vpc_cidr, [for name in local.in_order : local.prefix_bits[name] - local.vpc_bits]...) : []
  cidrs     = local.fits ? zipmap(local.in_order, local.cut) : {}
}
