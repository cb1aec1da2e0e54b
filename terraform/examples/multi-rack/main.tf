# Several racks of any kinds: NVL72 domains in capacity blocks beside eight-GPU machines: one node group for each NVL72, and for each
# pool or reservation of the others.

locals {
  tags     = { "rackserve.io/cluster" = var.name }
  vpc_cidr = "10.64.0.0/16"
}

module "sizing" {
  source = "../../modules/_sizing"

  availability_zones = var.availability_zones
  vpc_cidr           = local.vpc_cidr
  cpu_nodes          = 12
  pools              = var.pools
}

module "network" {
  source = "../../modules/aws-network"

  name     = var.name
  vpc_cidr = local.vpc_cidr
  subnets  = module.sizing.subnets
  public   = var.public_endpoint
  tags     = local.tags
}

module "eks" {
  source = "../../modules/aws-eks"

  name                    = var.name
  subnet_ids              = values(module.network.private_subnet_ids)
  nodes_security_group_id = module.network.nodes_security_group_id
  admin_role_arns         = var.admin_role_arns
  weights_bucket_arns     = var.weights_bucket_arns
  cpu_nodes               = { instance_types = ["m7i.4xlarge"], min = 3, max = 12 }
  tags                    = local.tags
}

module "rack" {
  source   = "../../modules/aws-gpu-rack"
  for_each = module.sizing.domains

  name               = each.key
  cluster_name       = module.eks.cluster_name
  instance_type      = each.value.instance_type
  nodes              = each.value.nodes
  reservation        = each.value.reservation
  capacity_block     = each.value.capacity_block
  subnet_id          = module.network.rack_subnet_ids[each.value.pool]
  security_group_ids = [module.eks.cluster_security_group_id, module.network.nodes_security_group_id]
  node_role_arn      = module.eks.node_role_arn
  kms_key_arn        = module.eks.kms_key_arn
  tags               = local.tags
}
