# The head starts and ends this cluster's GPU machines and nothing else; the GPU machines read weights and nothing else.

locals {
  ec2_trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
  our_instances = { StringEquals = { "aws:ResourceTag/ray-cluster-name" = var.name } }
}

resource "aws_iam_role" "worker" {
  name               = "${var.name}-ray-worker"
  assume_role_policy = local.ec2_trust
  tags               = var.tags
}

resource "aws_iam_role_policy" "weights" {
  count = length(var.weights_bucket_arns) > 0 ? 1 : 0

  name = "read-weights"
  role = aws_iam_role.worker.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "s3:ListBucket", Resource = var.weights_bucket_arns },
      { Effect = "Allow", Action = "s3:GetObject", Resource = [for arn in var.weights_bucket_arns : "${arn}/*"] },
    ]
  })
}

resource "aws_iam_instance_profile" "worker" {
  name = "${var.name}-ray-worker"
  role = aws_iam_role.worker.name
  tags = var.tags
}

resource "aws_iam_role" "head" {
  name               = "${var.name}-ray-head"
  assume_role_policy = local.ec2_trust
  tags               = var.tags
}

resource "aws_iam_role_policy" "head" {
  name = "run-workers"
  role = aws_iam_role.head.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # EC2's Describe calls know no resources.
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeSubnets",
          "ec2:DescribeSecurityGroups", "ec2:DescribeImages", "ec2:DescribeKeyPairs", "ec2:DescribeVpcs",
        ]
        Resource = "*"
      },
      {
        Sid       = "StartOurMachines"
        Effect    = "Allow"
        Action    = "ec2:RunInstances"
        Resource  = "${local.ec2}:instance/*"
        Condition = { StringEquals = { "aws:RequestTag/ray-cluster-name" = var.name } }
      },
      {
        Sid    = "WithTheirParts"
        Effect = "Allow"
        Action = "ec2:RunInstances"
        Resource = concat(
          [for id in concat([var.head_subnet_id], values(var.rack_subnet_ids)) : "${local.ec2}:subnet/${id}"],
          ["${local.ec2}:security-group/${var.nodes_security_group_id}"],
          [for machine in module.machine : machine.arn],
          [for id in values(var.image_ids) : "arn:${local.partition}:ec2:${local.region}::image/${id}"],
          [for domain in var.domains : "${local.ec2}:capacity-reservation/${domain.reservation}" if domain.reservation != null],
          ["${local.ec2}:volume/*", "${local.ec2}:network-interface/*", "${local.ec2}:key-pair/${var.key_name}"],
        )
      },
      {
        Sid       = "TagWhatIsStarted"
        Effect    = "Allow"
        Action    = "ec2:CreateTags"
        Resource  = ["${local.ec2}:instance/*", "${local.ec2}:volume/*", "${local.ec2}:network-interface/*"]
        Condition = { StringEquals = { "ec2:CreateAction" = "RunInstances" } }
      },
      {
        Sid       = "TagAndEndOurMachines"
        Effect    = "Allow"
        Action    = ["ec2:CreateTags", "ec2:TerminateInstances"]
        Resource  = "${local.ec2}:instance/*"
        Condition = local.our_instances
      },
      {
        Sid       = "GiveWorkersTheirRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = aws_iam_role.worker.arn
        Condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } }
      },
      {
        Sid      = "EncryptTheirDisks"
        Effect   = "Allow"
        Action   = ["kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt", "kms:DescribeKey"]
        Resource = aws_kms_key.disks.arn
      },
      {
        Sid       = "GrantDisksToEc2"
        Effect    = "Allow"
        Action    = "kms:CreateGrant"
        Resource  = aws_kms_key.disks.arn
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
  })
}

resource "aws_iam_instance_profile" "head" {
  name = "${var.name}-ray-head"
  role = aws_iam_role.head.name
  tags = var.tags
}
