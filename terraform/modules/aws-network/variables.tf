variable "name" {
  description = "Prefix of every resource's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", var.name))
    error_message = "name is 1 to 40 lower-case letters, digits and dashes, starting with a letter; given: ${var.name}."
  }
}

variable "vpc_cidr" {
  description = "The VPC's IPv4 network, as given to `_sizing`."
  type        = string

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 24, false)
    error_message = "vpc_cidr is an IPv4 network from /16 to /24, such as 10.64.0.0/16; given: ${var.vpc_cidr}."
  }
}

variable "subnets" {
  description = "`_sizing`'s output `subnets`."
  type = object({
    private = map(string)
    public  = map(string)
    racks   = map(object({ cidr = string, availability_zone = string }))
  })

  validation {
    condition     = length(var.subnets.private) >= 2
    error_message = "subnets.private names two zones or more, which EKS wants; given: ${join(", ", keys(var.subnets.private))}."
  }
}

variable "public" {
  description = "Make public subnets and an internet gateway, for a load balancer that the internet reaches. Nodes stay private."
  type        = bool
  default     = false
}

variable "egress_cidrs" {
  description = <<-EOT
    Networks outside the VPC that nodes may reach, through one NAT gateway a zone (HTTPS only). Empty: none; images come
    from ECR (a pull-through cache serves other registries) and weights from S3, over the VPC's own endpoints.
  EOT
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.egress_cidrs : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")])
    error_message = "egress_cidrs: IPv4 networks, never /0: name what nodes need, or mirror it to ECR and S3; given: ${join(", ", var.egress_cidrs)}."
  }
}

variable "log_retention_days" {
  description = "How long the VPC's flow logs are kept."
  type        = number
  default     = 90

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days is one that CloudWatch knows (7, 14, 30, 60, 90, 365, …); given: ${var.log_retention_days}."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
}
