# Ray's cluster file. The launch templates hold all that EC2 needs to know, so a node type names its template and says
# what Ray needs: how many, which NVLink domain.

locals {
  launch_file = {
    cluster_name         = var.name
    max_workers          = sum(concat([0], [for domain in var.domains : domain.nodes]))
    idle_timeout_minutes = 60

    provider = {
      type                = "aws"
      region              = local.region
      use_internal_ips    = true
      cache_stopped_nodes = false
    }
    auth = {
      ssh_user        = var.ssh_user
      ssh_private_key = var.ssh_private_key
    }

    head_node_type = "head"
    available_node_types = merge(
      {
        head = {
          min_workers = 0
          max_workers = 0
          resources   = { GPU = 0 }
          labels      = { "rackserve.io/pool" = "cpu" }
          node_config = { LaunchTemplate = { LaunchTemplateId = aws_launch_template.head.id, Version = tostring(aws_launch_template.head.latest_version) } }
        }
      },
      {
        for name, domain in var.domains : name => {
          min_workers = domain.nodes
          max_workers = domain.nodes
          resources   = { GPU = domain.gpus_per_node }
          labels      = { "ray.io/gpu-domain" = name, "rackserve.io/pool" = "gpu" }
          node_config = { LaunchTemplate = { LaunchTemplateId = module.machine[name].id, Version = tostring(module.machine[name].latest_version) } }
        }
      },
    )

    setup_commands = coalesce(var.setup_commands, [
      "python3.11 -m venv ${var.venv}",
      "${var.venv}/bin/pip install --quiet 'rackserve[gpu]'",
    ])
    # The head starts machines through EC2's API; Ray's own default would install this outside the environment.
    head_setup_commands   = ["${var.venv}/bin/pip install --quiet boto3"]
    worker_setup_commands = []
    head_start_ray_commands = [
      "${var.venv}/bin/ray stop",
      "ulimit -n 65536; ${var.venv}/bin/ray start --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml --dashboard-host=127.0.0.1",
    ]
    worker_start_ray_commands = [
      "${var.venv}/bin/ray stop",
      "ulimit -n 65536; ${var.venv}/bin/ray start --address=$RAY_HEAD_IP:6379",
    ]
  }
}
