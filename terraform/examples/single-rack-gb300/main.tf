# One GB300 NVL72: 18 machines of 4 GPUs, 72 GPUs in one NVLink domain.

locals {
  tags     = { "rackserve.io/cluster" = var.name }
  vpc_cidr = "10.64.0.0/19"
}

module "sizing" {
  source = "../../modules/_sizing"

  availability_zones = var.availability_zones
  vpc_cidr           = local.vpc_cidr
  pools = [{
    name              = "gb300"
    instance_type     = "p6e-gb300.36xlarge"
    nodes             = var.nodes
    availability_zone = var.availability_zones[0]
    reservations      = [var.reservation]
  }]
}

module "network" {
  source = "../../modules/aws-network"

  name     = var.name
  vpc_cidr = local.vpc_cidr
  subnets  = module.sizing.subnets
  tags     = local.tags
}

module "eks" {
  source = "../../modules/aws-eks"

  name                    = var.name
  subnet_ids              = values(module.network.private_subnet_ids)
  nodes_security_group_id = module.network.nodes_security_group_id
  weights_bucket_arns     = var.weights_bucket_arns
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
