# One EKS node group: an NVLink domain, so that a rack is started, labelled and lost as the unit it is, or machines of a
# type whose NVLink ends at the machine.

locals {
  instance_types = jsondecode(file("${path.module}/../_sizing/instance_types.json"))
  shape          = local.instance_types[var.instance_type]
  capacity_block = var.reservation != null && var.capacity_block
  shares_nvlink  = local.shape.nodes_per_domain > 1
}

module "machine" {
  source = "../_gpu-machine"

  name               = "${var.cluster_name}-${var.name}"
  instance_type      = var.instance_type
  reservation        = var.reservation
  capacity_block     = var.capacity_block
  subnet_id          = var.subnet_id
  security_group_ids = var.security_group_ids
  kms_key_arn        = var.kms_key_arn
  disk_gib           = var.disk_gib
  tags               = var.tags

  # EKS adds the cluster's own part; ours makes the instance stores one file system for images and weights.
  user_data = <<-EOT
    MIME-Version: 1.0
    Content-Type: multipart/mixed; boundary="//"

    --//
    Content-Type: application/node.eks.aws

    apiVersion: node.eks.aws/v1alpha1
    kind: NodeConfig
    spec:
      instance:
        localStorage:
          strategy: RAID0

    --//--
  EOT
}

resource "aws_eks_node_group" "this" {
  cluster_name    = var.cluster_name
  node_group_name = var.name
  node_role_arn   = var.node_role_arn
  subnet_ids      = [var.subnet_id]
  ami_type        = local.shape.arch == "arm64" ? "AL2023_ARM_64_NVIDIA" : "AL2023_x86_64_NVIDIA"
  capacity_type   = local.capacity_block ? "CAPACITY_BLOCK" : "ON_DEMAND"
  tags            = var.tags

  labels = merge(
    { "rackserve.io/pool" = "gpu", "rackserve.io/gpu" = local.shape.gpu },
    local.shares_nvlink ? { "ray.io/gpu-domain" = var.name } : {},
  )

  taint {
    key    = "nvidia.com/gpu"
    value  = "present"
    effect = "NO_SCHEDULE"
  }

  launch_template {
    id      = module.machine.id
    version = module.machine.latest_version
  }

  # All of the rack or none of it: a gang needs its domain whole. A capacity block's group is set to 0 before an upgrade.
  scaling_config {
    min_size     = 0
    desired_size = var.nodes
    max_size     = var.nodes
  }

  update_config {
    max_unavailable = 1
  }
}
