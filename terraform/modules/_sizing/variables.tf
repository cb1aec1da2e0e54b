variable "pools" {
  description = <<-EOT
    GPU pools, in the order the Helm values keep them. One pool is one instance type in one availability zone. A p6e pool
    is cut into NVLink domains ("racks"): 36 nodes are 2 racks of 18. Machines of other types are each a domain by
    themselves; all nodes of such a pool are one group. `reservations` names one capacity block a rack; of other types
    none, one for the whole pool, or several that hold equal shares of it. They are capacity blocks unless
    `capacity_block` is false: then on-demand capacity reservations.
  EOT
  type = list(object({
    name              = string
    instance_type     = string
    nodes             = number
    availability_zone = string
    reservations      = optional(list(string), [])
    capacity_block    = optional(bool, true)
  }))
  default = []

  validation {
    condition     = length(distinct(var.pools[*].name)) == length(var.pools)
    error_message = "pools: two pools share a name (${join(", ", var.pools[*].name)}); each must have its own."
  }
  validation {
    condition     = alltrue([for pool in var.pools : can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", pool.name))])
    error_message = "pools: a name is 1 to 20 lower-case letters, digits and dashes, starting with a letter; given: ${join(", ", var.pools[*].name)}."
  }
  validation {
    condition     = alltrue([for pool in var.pools : contains(keys(local.instance_types), pool.instance_type)])
    error_message = "pools: unknown instance_type in ${join(", ", [for pool in var.pools : "${pool.name}=${pool.instance_type}"])}; known: ${join(", ", keys(local.instance_types))}."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.nodes >= 1 && pool.nodes <= 1000 && floor(pool.nodes) == pool.nodes])
    error_message = "pools: nodes is a whole number from 1 to 1000; given: ${join(", ", [for pool in var.pools : "${pool.name}=${pool.nodes}"])}."
  }
  validation {
    condition = alltrue([
      for pool in var.pools : pool.nodes % try(local.instance_types[pool.instance_type].nodes_per_domain, 1) == 0
      || pool.nodes < try(local.instance_types[pool.instance_type].nodes_per_domain, 1)
    ])
    error_message = "pools: a p6e rack has 18 nodes, so give up to 18 or a multiple of 18; given: ${join(", ", [for pool in var.pools : "${pool.name}=${pool.nodes}"])}."
  }
  validation {
    condition = alltrue([
      for pool in var.pools : (
        try(local.instance_types[pool.instance_type].needs_reservation, false)
        ? length(pool.reservations) == ceil(pool.nodes / local.instance_types[pool.instance_type].nodes_per_domain) && pool.capacity_block
        : length(pool.reservations) == 0 || pool.nodes % max(1, length(pool.reservations)) == 0
      )
    ])
    error_message = "pools: p6e is sold as capacity blocks only, so name one (cr-…) for each rack; of other types name none, or reservations that hold equal shares of the nodes (make pools of unequal ones). Given: ${join(", ", [for pool in var.pools : "${pool.name}=${pool.nodes} nodes, ${length(pool.reservations)} reservations"])}."
  }
  validation {
    condition     = alltrue([for pool in var.pools : alltrue([for id in pool.reservations : can(regex("^cr-[0-9a-f]{8,17}$", id))])])
    error_message = "pools: a reservation is a capacity reservation's id such as cr-0123456789abcdef0; given: ${join(", ", flatten(var.pools[*].reservations))}."
  }
  validation {
    condition     = length(distinct(flatten(var.pools[*].reservations))) == length(flatten(var.pools[*].reservations))
    error_message = "pools: a reservation is named twice; name it once, in one pool: ${join(", ", flatten(var.pools[*].reservations))}."
  }
  validation {
    condition     = alltrue([for pool in var.pools : contains(var.availability_zones, pool.availability_zone)])
    error_message = "pools: a pool's availability_zone must be one of availability_zones (${join(", ", var.availability_zones)}); given: ${join(", ", [for pool in var.pools : "${pool.name}=${pool.availability_zone}"])}."
  }
}

variable "vpc_cidr" {
  description = "The VPC's IPv4 network, /16 to /24."
  type        = string
  default     = "10.64.0.0/16"

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 24, false)
    error_message = "vpc_cidr is an IPv4 network from /16 to /24, such as 10.64.0.0/16; given: ${var.vpc_cidr}."
  }
}

variable "availability_zones" {
  description = "Zones the cluster uses: at least two, which EKS wants of its control plane."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) >= 2 && length(distinct(var.availability_zones)) == length(var.availability_zones)
    error_message = "availability_zones: two or more different zones; given: ${join(", ", var.availability_zones)}."
  }
}

variable "cpu_nodes" {
  description = "Machines without GPUs (Ray head, gateways, operators) at most."
  type        = number
  default     = 6

  validation {
    condition     = var.cpu_nodes >= 1 && var.cpu_nodes <= 500 && floor(var.cpu_nodes) == var.cpu_nodes
    error_message = "cpu_nodes is a whole number from 1 to 500; given: ${var.cpu_nodes}."
  }
}

variable "addresses_per_node" {
  description = "IPv4 addresses to keep for each node: its own and its pods'. EFA-only interfaces take none."
  type        = number
  default     = 32

  validation {
    condition     = var.addresses_per_node >= 2 && var.addresses_per_node <= 256
    error_message = "addresses_per_node is 2 to 256; given: ${var.addresses_per_node}."
  }
}

variable "node_groups" {
  description = "Groups of machines that the cluster may have, the one without GPUs counted: EKS' quota of managed node groups."
  type        = number
  default     = 30

  validation {
    condition     = var.node_groups >= 1 && floor(var.node_groups) == var.node_groups
    error_message = "node_groups is a whole number of 1 or more; given: ${var.node_groups}."
  }
}
