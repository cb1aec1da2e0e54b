# The smallest cluster: no GPU, a small model on CPUs. For trying the chart's values-cpu.yaml on AWS.

locals {
  tags = { "rackserve.io/cluster" = var.name }
}

module "sizing" {
  source = "../../modules/_sizing"

  availability_zones = var.availability_zones
  vpc_cidr           = "10.64.0.0/20"
  cpu_nodes          = var.cpu_nodes
}

module "network" {
  source = "../../modules/aws-network"

  name     = var.name
  vpc_cidr = "10.64.0.0/20"
  subnets  = module.sizing.subnets
  tags     = local.tags
}

module "eks" {
  source = "../../modules/aws-eks"

  name                    = var.name
  subnet_ids              = values(module.network.private_subnet_ids)
  nodes_security_group_id = module.network.nodes_security_group_id
  public_access_cidrs     = var.public_access_cidrs
  cpu_nodes               = { min = 2, max = var.cpu_nodes }
  tags                    = local.tags
}
