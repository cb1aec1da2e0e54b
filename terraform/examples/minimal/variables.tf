variable "name" {
  description = "The cluster's name."
  type        = string
  default     = "rackserve-minimal"
}

variable "region" {
  description = "AWS region."
  type        = string
  default     = "us-east-1"
}

variable "availability_zones" {
  description = "Two zones of the region."
  type        = list(string)
  default     = ["us-east-1a", "us-east-1b"]
}

variable "cpu_nodes" {
  description = "Machines at most: the replicas of small models run on the CPU beside Ray's head and the gateways."
  type        = number
  default     = 4

  validation {
    condition     = var.cpu_nodes >= 2 && var.cpu_nodes <= 100
    error_message = "cpu_nodes is 2 (one a zone) to 100; given: ${var.cpu_nodes}."
  }
}

variable "public_access_cidrs" {
  description = "Networks that may reach the Kubernetes API; empty: from inside the VPC only."
  type        = list(string)
  default     = []
}
