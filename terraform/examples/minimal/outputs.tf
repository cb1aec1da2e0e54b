output "kubeconfig" {
  description = "Makes kubectl know the cluster."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${module.eks.cluster_name}"
}

output "plan" {
  description = "What was built, in numbers."
  value = {
    totals  = module.sizing.totals
    subnets = module.sizing.subnets
  }
}
