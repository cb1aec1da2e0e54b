output "cluster_name" {
  description = "The EKS cluster's name (`aws eks update-kubeconfig --name …`)."
  value       = aws_eks_cluster.this.name
}

output "cluster_endpoint" {
  description = "The Kubernetes API."
  value       = aws_eks_cluster.this.endpoint
}

output "cluster_security_group_id" {
  description = "The security group EKS made for control plane and nodes."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "oidc_provider_arn" {
  description = "The cluster's OIDC provider, for roles of service accounts."
  value       = aws_iam_openid_connect_provider.this.arn
}

output "node_role_arn" {
  description = "Role of every node."
  value       = aws_iam_role.node.arn
}

output "kms_key_arn" {
  description = "Key of secrets, disks and logs."
  value       = aws_kms_key.this.arn
}
