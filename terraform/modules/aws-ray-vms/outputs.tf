output "launch_file" {
  description = "The file for `ray up`, filled in: `terraform output -raw launch_file > ray.yaml && ray up ray.yaml`."
  value       = yamlencode(local.launch_file)
}

output "head_security_group_id" {
  description = "Security group of the head: SSH and the apps' port."
  value       = aws_security_group.head.id
}

output "kms_key_arn" {
  description = "Key of the disks."
  value       = aws_kms_key.disks.arn
}

output "gpu_disk_gib" {
  description = "Root disk of each GPU node, GiB."
  value       = local.gpu_disk_gib
}
