variable "name" {
  description = "The rack's name: node group, worker group in the Helm values, and Ray's `ray.io/gpu-domain` where its machines share NVLink."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", var.name))
    error_message = "name is 1 to 40 lower-case letters, digits and dashes, starting with a letter; given: ${var.name}."
  }
}

variable "cluster_name" {
  description = "The EKS cluster."
  type        = string
}

variable "instance_type" {
  description = "The rack's machines, a type of `_sizing/instance_types.json`."
  type        = string

  validation {
    condition     = contains(keys(local.instance_types), var.instance_type)
    error_message = "instance_type is one of ${join(", ", keys(local.instance_types))}; given: ${var.instance_type}."
  }
}

variable "nodes" {
  description = "Machines: 1 to 18 for p6e (18 is a whole NVL72), any number up to EKS' 450 for types whose NVLink ends at the machine."
  type        = number

  validation {
    condition     = var.nodes >= 1 && floor(var.nodes) == var.nodes && var.nodes <= (local.shares_nvlink ? local.shape.nodes_per_domain : 450)
    error_message = "nodes is 1 to ${local.shares_nvlink ? "${local.shape.nodes_per_domain} in one NVLink domain" : "450 in one node group"} of ${var.instance_type}; given: ${var.nodes}. More nodes are more racks."
  }
}

variable "reservation" {
  description = "Capacity block or reservation the machines run in; p6e cannot be had without."
  type        = string
  default     = null

  validation {
    condition     = var.reservation != null || !try(local.instance_types[var.instance_type].needs_reservation, false)
    error_message = "reservation is missing: ${var.instance_type} is sold as capacity blocks only; give the block's id (cr-…)."
  }
  validation {
    condition     = var.reservation == null || can(regex("^cr-[0-9a-f]{8,17}$", var.reservation))
    error_message = "reservation is a capacity reservation's id such as cr-0123456789abcdef0; given: ${coalesce(var.reservation, "null")}."
  }
}

variable "capacity_block" {
  description = "The reservation is a capacity block; false: an on-demand capacity reservation, which p6e has not."
  type        = bool
  default     = true

  validation {
    condition     = var.capacity_block || !try(local.instance_types[var.instance_type].needs_reservation, false)
    error_message = "capacity_block is false, but ${var.instance_type} is sold as capacity blocks only."
  }
}

variable "subnet_id" {
  description = "The rack's subnet, in the reservation's zone."
  type        = string
}

variable "security_group_ids" {
  description = "The EKS cluster's security group and the nodes' own (EFA)."
  type        = list(string)

  validation {
    condition     = length(var.security_group_ids) >= 1
    error_message = "security_group_ids: at least the nodes' group, which EFA needs."
  }
}

variable "node_role_arn" {
  description = "Role of every node (`aws-eks`' output)."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the nodes' disks (`aws-eks`' output)."
  type        = string
}

variable "disk_gib" {
  description = "Root disk of each node, GiB. Images and weights go to the machine's own NVMe disks, made one by RAID 0."
  type        = number
  default     = 200

  validation {
    condition     = var.disk_gib >= 50
    error_message = "disk_gib is at least 50; given: ${var.disk_gib}."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
