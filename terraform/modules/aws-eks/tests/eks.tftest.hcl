# What the control plane and its nodes are made with, and what bad values are told.

mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/test" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
  mock_resource "aws_eks_cluster" {
    defaults = {
      arn      = "arn:aws:eks:us-east-1:123456789012:cluster/test"
      identity = [{ oidc = [{ issuer = "https://oidc.eks.us-east-1.amazonaws.com/id/0" }] }]
    }
  }
}

variables {
  name                    = "test"
  subnet_ids              = ["subnet-a", "subnet-b"]
  nodes_security_group_id = "sg-nodes"
}

run "private_and_encrypted_by_default" {
  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].endpoint_private_access
    error_message = "the API is private unless asked for"
  }
  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == aws_kms_key.this.arn && aws_kms_key.this.enable_key_rotation
    error_message = "secrets are encrypted with our key, which rotates"
  }
  assert {
    condition     = aws_launch_template.cpu.metadata_options[0].http_tokens == "required" && aws_launch_template.cpu.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv2 only, out of pods' reach"
  }
  assert {
    condition     = aws_launch_template.cpu.block_device_mappings[0].ebs[0].encrypted == "true" && aws_launch_template.cpu.block_device_mappings[0].ebs[0].kms_key_id == aws_kms_key.this.arn
    error_message = "node disks are encrypted with our key"
  }
  assert {
    condition     = toset(keys(aws_eks_addon.this)) == toset(["vpc-cni", "coredns", "kube-proxy", "metrics-server", "aws-ebs-csi-driver", "eks-pod-identity-agent"])
    error_message = "add-ons: ${join(", ", keys(aws_eks_addon.this))}"
  }
  assert {
    condition     = !contains([for attachment in aws_iam_role_policy_attachment.node : attachment.policy_arn], "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy")
    error_message = "the CNI's rights are the CNI's, not every node's"
  }
  assert {
    condition     = length(aws_eks_pod_identity_association.replica) == 0
    error_message = "without buckets replicas have no role"
  }
}

run "what_was_asked_for" {
  variables {
    public_access_cidrs = ["203.0.113.0/24"]
    admin_role_arns     = ["arn:aws:iam::123456789012:role/ops"]
    weights_bucket_arns = ["arn:aws:s3:::weights"]
    cpu_nodes           = { arch = "arm64", instance_types = ["m7g.2xlarge"], min = 3 }
  }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "the API hears the networks named"
  }
  assert {
    condition     = !aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions && length(aws_eks_access_policy_association.admin) == 1
    error_message = "named admins, and not whoever ran Terraform"
  }
  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.weights[0].policy).Statement : statement.Resource])) == toset(
      ["arn:aws:s3:::weights", "arn:aws:s3:::weights/*"]
    )
    error_message = "replicas read the named buckets and nothing else: ${aws_iam_role_policy.weights[0].policy}"
  }
  assert {
    condition     = aws_eks_node_group.cpu.ami_type == "AL2023_ARM_64_STANDARD" && aws_eks_node_group.cpu.scaling_config[0].min_size == 3
    error_message = "the machines asked for"
  }
}

run "bad_values_are_told" {
  command = plan
  variables {
    kubernetes_version  = "1.32"
    subnet_ids          = ["subnet-a"]
    public_access_cidrs = ["everywhere"]
    admin_role_arns     = ["ops"]
    weights_bucket_arns = ["s3://weights"]
    cpu_nodes           = { min = 4, max = 2 }
  }
  expect_failures = [
    var.kubernetes_version, var.subnet_ids, var.public_access_cidrs, var.admin_role_arns, var.weights_bucket_arns, var.cpu_nodes,
  ]
}
