variable "name" {
  description = "The cluster's name, and the prefix of every resource's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", var.name))
    error_message = "name is 1 to 40 lower-case letters, digits and dashes, starting with a letter; given: ${var.name}."
  }
}

variable "kubernetes_version" {
  description = "Kubernetes 1.33 or newer: older ones lack the dynamic resource allocation that GB200 and GB300 need."
  type        = string
  default     = "1.34"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version)) && try(tonumber(split(".", var.kubernetes_version)[1]) >= 33, false)
    error_message = "kubernetes_version is 1.33 or newer (GB200 and GB300 need dynamic resource allocation); given: ${var.kubernetes_version}."
  }
}

variable "subnet_ids" {
  description = "Private subnets in two zones or more: control plane, Ray head, gateways."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids: EKS wants two zones or more; given: ${length(var.subnet_ids)}."
  }
}

variable "nodes_security_group_id" {
  description = "Security group of all nodes (`aws-network`'s output)."
  type        = string
}

variable "public_access_cidrs" {
  description = "Networks that may reach the Kubernetes API from outside the VPC. Empty: none, the API is private."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.public_access_cidrs : can(cidrhost(cidr, 0))])
    error_message = "public_access_cidrs: IPv4 networks such as 203.0.113.0/24; given: ${join(", ", var.public_access_cidrs)}."
  }
}

variable "admin_role_arns" {
  description = "IAM roles that administer the cluster."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.admin_role_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", arn))])
    error_message = "admin_role_arns: IAM role ARNs (arn:aws:iam::123456789012:role/NAME); given: ${join(", ", var.admin_role_arns)}."
  }
}

variable "cpu_nodes" {
  description = "The node group without GPUs: Ray head, gateways, operators; `instance_types` of one architecture."
  type = object({
    instance_types = optional(list(string), ["m7i.2xlarge"])
    arch           = optional(string, "x86_64")
    min            = optional(number, 2)
    max            = optional(number, 6)
    disk_gib       = optional(number, 100)
  })
  default = {}

  validation {
    condition     = contains(["x86_64", "arm64"], var.cpu_nodes.arch)
    error_message = "cpu_nodes.arch is x86_64 or arm64; given: ${var.cpu_nodes.arch}."
  }
  validation {
    condition     = var.cpu_nodes.min >= 1 && var.cpu_nodes.min <= var.cpu_nodes.max
    error_message = "cpu_nodes: min is at least 1 and not above max; given: min ${var.cpu_nodes.min}, max ${var.cpu_nodes.max}."
  }
  validation {
    condition     = var.cpu_nodes.disk_gib >= 20
    error_message = "cpu_nodes.disk_gib is at least 20; given: ${var.cpu_nodes.disk_gib}."
  }
}

variable "weights_bucket_arns" {
  description = "S3 buckets that the replicas' service account may read model weights from."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.weights_bucket_arns : can(regex("^arn:aws[a-z-]*:s3:::[a-z0-9.-]{3,63}$", arn))])
    error_message = "weights_bucket_arns: bucket ARNs (arn:aws:s3:::NAME), without a path; given: ${join(", ", var.weights_bucket_arns)}."
  }
}

variable "service_account" {
  description = "Namespace and name of the service account the Helm chart gives the replicas."
  type        = object({ namespace = string, name = string })
  default     = { namespace = "rackserve", name = "rackserve" }
}

variable "log_retention_days" {
  description = "How long the control plane's logs are kept."
  type        = number
  default     = 90
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
