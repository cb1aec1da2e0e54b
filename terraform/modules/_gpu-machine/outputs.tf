output "id" {
  description = "The launch template."
  value       = aws_launch_template.this.id
}

output "arn" {
  description = "The launch template's ARN."
  value       = aws_launch_template.this.arn
}

output "latest_version" {
  description = "Its newest version."
  value       = aws_launch_template.this.latest_version
}

output "shape" {
  description = "The type's row of `_sizing/instance_types.json`."
  value       = local.shape
}

output "efa_interfaces" {
  description = "EFA interfaces of one machine."
  value       = length([for interface in local.interfaces : interface if interface.type != "interface"])
}
