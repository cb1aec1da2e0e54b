variable "name" {
  description = "The cluster's name."
  type        = string
  default     = "rackserve-gb300"
}

variable "region" {
  description = "AWS region that sells P6e-GB300 UltraServers."
  type        = string
  default     = "us-east-1"
}

variable "availability_zones" {
  description = "Two zones of the region; the first is the capacity block's."
  type        = list(string)
  default     = ["us-east-1a", "us-east-1b"]
}

variable "reservation" {
  description = "The UltraServer's capacity block (cr-…)."
  type        = string

  validation {
    condition     = can(regex("^cr-[0-9a-f]{8,17}$", var.reservation))
    error_message = "reservation is the capacity block's id such as cr-0123456789abcdef0; given: ${var.reservation}."
  }
}

variable "nodes" {
  description = "Machines of the rack: 18 is a whole NVL72."
  type        = number
  default     = 18

  validation {
    condition     = var.nodes >= 1 && var.nodes <= 18 && floor(var.nodes) == var.nodes
    error_message = "nodes is 1 to 18, the machines of one NVL72; given: ${var.nodes}."
  }
}

variable "weights_bucket_arns" {
  description = "S3 buckets with model weights."
  type        = list(string)
  default     = []
}
