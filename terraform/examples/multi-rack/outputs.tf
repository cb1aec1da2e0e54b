output "kubeconfig" {
  description = "Makes kubectl know the cluster."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${module.eks.cluster_name}"
}

output "plan" {
  description = "What was built: numbers, subnets, and the racks in the order the Helm values keep."
  value = {
    totals  = module.sizing.totals
    subnets = module.sizing.subnets
    racks   = [for name in module.sizing.domain_names : module.rack[name].rack]
  }
}
