output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Private subnets by zone: control plane, Ray head, gateways."
  value       = { for zone, subnet in aws_subnet.private : zone => subnet.id }
}

output "rack_subnet_ids" {
  description = "Subnets of GPU nodes, by pool."
  value       = { for pool, subnet in aws_subnet.rack : pool => subnet.id }
}

output "public_subnet_ids" {
  description = "Public subnets by zone; none unless `public` or `egress_cidrs` asked for them."
  value       = { for zone, subnet in aws_subnet.public : zone => subnet.id }
}

output "nodes_security_group_id" {
  description = "Security group of every node: open among its members only, as EFA needs."
  value       = aws_security_group.nodes.id
}
