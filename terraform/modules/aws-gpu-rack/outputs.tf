output "rack" {
  description = "The rack as the Helm values want it: name, nodes, gpusPerNode, gpuDomain (\"\": each machine is a domain by itself), arch, efaPerNode."
  value = {
    name        = var.name
    nodes       = aws_eks_node_group.this.scaling_config[0].desired_size
    gpusPerNode = local.shape.gpus
    gpu         = local.shape.gpu
    gpuDomain   = lookup(aws_eks_node_group.this.labels, "ray.io/gpu-domain", "")
    arch        = local.shape.arch
    efaPerNode  = module.machine.efa_interfaces
  }
}
