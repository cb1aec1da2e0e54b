variable "name" {
  description = "Prefix of the launch template's name, and the machines' Name tag."
  type        = string
}

variable "instance_type" {
  description = "A type of `_sizing/instance_types.json`."
  type        = string
}

variable "reservation" {
  description = "Capacity reservation the machines run in; null: none."
  type        = string
  default     = null
}

variable "capacity_block" {
  description = "The reservation is a capacity block; false: an on-demand capacity reservation."
  type        = bool
  default     = true
}

variable "subnet_id" {
  description = "The machines' subnet, in the reservation's zone."
  type        = string
}

variable "security_group_ids" {
  description = "Security groups of every interface."
  type        = list(string)
}

variable "kms_key_arn" {
  description = "Key of the root disk."
  type        = string
}

variable "disk_gib" {
  description = "Root disk, GiB."
  type        = number
}

variable "image_id" {
  description = "Machine image; null: the node group chooses (EKS)."
  type        = string
  default     = null
}

variable "instance_profile_arn" {
  description = "Instance profile; null: the node group's role (EKS)."
  type        = string
  default     = null
}

variable "key_name" {
  description = "SSH key pair; null: none."
  type        = string
  default     = null
}

variable "root_device" {
  description = "Device name of the image's root disk."
  type        = string
  default     = "/dev/xvda"
}

variable "user_data" {
  description = "User data, plain text; empty: none."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of the template and of what it starts."
  type        = map(string)
  default     = {}
}
