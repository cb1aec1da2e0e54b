variable "name" {
  description = "The cluster's name."
  type        = string
  default     = "rackserve"
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "us-east-1"
}

variable "availability_zones" {
  description = "Zones of the cluster; every pool is in one of them."
  type        = list(string)
  default     = ["us-east-1a", "us-east-1b"]
}

variable "pools" {
  description = "GPU pools, as `_sizing` takes them. Append new ones: racks keep their order in the Helm values."
  type = list(object({
    name              = string
    instance_type     = string
    nodes             = number
    availability_zone = string
    reservations      = optional(list(string), [])
    capacity_block    = optional(bool, true)
  }))

  validation {
    condition     = length(var.pools) > 0
    error_message = "pools is empty: name at least one, or use the example `minimal`, which has no GPU."
  }
  validation {
    condition     = alltrue([for pool in var.pools : startswith(pool.availability_zone, var.region)])
    error_message = "pools: a pool's zone is one of ${var.region}; given: ${join(", ", [for pool in var.pools : "${pool.name}=${pool.availability_zone}"])}."
  }
}

variable "public_endpoint" {
  description = "Make public subnets for a load balancer that the internet reaches."
  type        = bool
  default     = false
}

variable "admin_role_arns" {
  description = "IAM roles that administer the cluster."
  type        = list(string)
  default     = []
}

variable "weights_bucket_arns" {
  description = "S3 buckets with model weights."
  type        = list(string)
  default     = []
}
