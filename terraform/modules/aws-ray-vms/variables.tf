variable "name" {
  description = "The Ray cluster's name, and the prefix of every resource's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", var.name))
    error_message = "name is 1 to 40 lower-case letters, digits and dashes, starting with a letter; given: ${var.name}."
  }
}

variable "vpc_id" {
  description = "The VPC (`aws-network`'s output)."
  type        = string
}

variable "head_subnet_id" {
  description = "Subnet of the head node, which also runs the gateways."
  type        = string
}

variable "rack_subnet_ids" {
  description = "Subnets of the GPU nodes, by pool (`aws-network`'s output)."
  type        = map(string)

  validation {
    condition     = length(setsubtract([for domain in var.domains : domain.pool], keys(var.rack_subnet_ids))) == 0
    error_message = "rack_subnet_ids has no subnet for the pools ${join(", ", setsubtract([for domain in var.domains : domain.pool], keys(var.rack_subnet_ids)))}."
  }
}

variable "nodes_security_group_id" {
  description = "Security group open among nodes (`aws-network`'s output)."
  type        = string
}

variable "domains" {
  description = "`_sizing`'s output `domains`: one Ray node type for each."
  type = map(object({
    pool           = string
    instance_type  = string
    nodes          = number
    gpus_per_node  = number
    efa_interfaces = number
    arch           = string
    reservation    = string
    capacity_block = optional(bool, true)
  }))
}

variable "head_instance_type" {
  description = "The head's machine; it has no GPU."
  type        = string
  default     = "m7i.4xlarge"

  validation {
    condition     = !contains(keys(jsondecode(file("${path.module}/../_sizing/instance_types.json"))), var.head_instance_type)
    error_message = "head_instance_type is a machine without GPUs, such as m7i.4xlarge; given: ${var.head_instance_type}."
  }
}

variable "image_ids" {
  description = "Machine images by architecture (`x86_64` for the head, and each the domains have), with NVIDIA's driver and the EFA software."
  type        = map(string)

  validation {
    condition     = alltrue([for id in values(var.image_ids) : can(regex("^ami-[0-9a-f]{8,17}$", id))])
    error_message = "image_ids: AMI ids such as ami-0123456789abcdef0; given: ${join(", ", values(var.image_ids))}."
  }
  validation {
    condition     = length(setsubtract(concat(["x86_64"], [for domain in var.domains : domain.arch]), keys(var.image_ids))) == 0
    error_message = "image_ids has no image for ${join(", ", setsubtract(concat(["x86_64"], [for domain in var.domains : domain.arch]), keys(var.image_ids)))}."
  }
}

variable "ssh_user" {
  description = "The images' login."
  type        = string
  default     = "ubuntu"
}

variable "ssh_private_key" {
  description = "Path of the private key on the machine that runs `ray up`; the key itself never comes here."
  type        = string
  default     = "~/.ssh/rackserve.pem"
}

variable "key_name" {
  description = "EC2 key pair of that private key."
  type        = string
}

variable "ssh_cidrs" {
  description = "Networks that may reach the head by SSH: where `ray up` runs."
  type        = list(string)

  validation {
    condition     = length(var.ssh_cidrs) > 0 && alltrue([for cidr in var.ssh_cidrs : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")])
    error_message = "ssh_cidrs: the networks `ray up` comes from, never /0; given: ${length(var.ssh_cidrs) > 0 ? join(", ", var.ssh_cidrs) : "none"}."
  }
}

variable "app_cidrs" {
  description = "Networks whose apps may use the endpoint (port 8000). 0.0.0.0/0 makes it public: put TLS in front of it."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.app_cidrs : can(cidrhost(cidr, 0))])
    error_message = "app_cidrs: IPv4 networks such as 10.0.0.0/8; given: ${join(", ", var.app_cidrs)}."
  }
}

variable "venv" {
  description = "Folder of the Python environment on every node, with `ray` in its `bin`."
  type        = string
  default     = "~/rackserve"
}

variable "setup_commands" {
  description = "Commands that install RackServe on every node; null: a Python environment in `venv` from the nodes' package index."
  type        = list(string)
  default     = null
}

variable "weights_bucket_arns" {
  description = "S3 buckets the GPU nodes may read weights from."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.weights_bucket_arns : can(regex("^arn:aws[a-z-]*:s3:::[a-z0-9.-]{3,63}$", arn))])
    error_message = "weights_bucket_arns: bucket ARNs (arn:aws:s3:::NAME), without a path; given: ${join(", ", var.weights_bucket_arns)}."
  }
}

variable "disk_gib" {
  description = "Root disk of each node, GiB."
  type        = number
  default     = 500

  validation {
    condition     = var.disk_gib >= 50
    error_message = "disk_gib is at least 50; given: ${var.disk_gib}."
  }
}

variable "weights_gib" {
  description = "What the models' weights take on each GPU node, GiB, as `rackserve plan` tells: 660 for DeepSeek-R1. GPU nodes have a disk for them and 100 GiB beside, at least `disk_gib`."
  type        = number
  default     = 0

  validation {
    condition     = var.weights_gib >= 0
    error_message = "weights_gib is 0 or more; given: ${var.weights_gib}."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
