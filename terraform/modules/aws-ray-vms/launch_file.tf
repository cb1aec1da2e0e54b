# Ray's cluster file. The launch templates hold all that EC2 needs to know, so a node type names its template and says
# what Ray needs: how many, which NVLink domain.

locals {
  token_file = "~/.rackserve/ray_token"
  # As cluster/launch/aws-gb300.yaml: what another Ray left in files or in the environment does not count, a dead node is
  # known within 9 s, and Ray's own processes look less often at what rarely changes.
  settings = join(" ", [
    "unset RAY_ADDRESS RAY_AUTH_TOKEN;",
    "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.rackserve/ray_token",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S=0.5 RAY_SERVE_METRICS_EXPORT_INTERVAL_MS=5000 RAY_event_stats=0",
    "RAY_raylet_check_gc_period_milliseconds=1000 RAY_memory_monitor_refresh_ms=1000",
    "RAY_kill_idle_workers_interval_ms=1000 RAY_local_fs_monitor_interval_ms=1000 RAY_object_manager_timer_freq_ms=1000",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD=0 LOG_NAME_UPDATE_INTERVAL_S=5 EVENT_AGENT_REPORT_INTERVAL_SECONDS=1",
    "RAY_gcs_rpc_server_reconnect_timeout_s=5400",
  ])
  death_timeouts = join(" ", [
    "RAY_health_check_initial_delay_ms=5000 RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=2000",
    "RAY_health_check_failure_threshold=3",
  ])
  # What the head knows outlives its processes: workers that have waited for it go on.
  kept_state = "RAY_gcs_storage=rocksdb RAY_gcs_storage_path=$HOME/.rackserve/gcs"

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
          labels      = merge({ "rackserve.io/pool" = "gpu" }, local.shares_nvlink[domain.instance_type] ? { "ray.io/gpu-domain" = name } : {})
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
    # The head makes the token that Ray asks everybody for; it is copied to each worker.
    cluster_synced_files = [local.token_file]
    head_start_ray_commands = [
      "${var.venv}/bin/ray stop",
      "test -s ${local.token_file} || (umask 077; mkdir -p ~/.rackserve; od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' > ${local.token_file})",
      "${local.settings} ${local.death_timeouts} ${local.kept_state}; ulimit -n 65536; ${var.venv}/bin/ray start --head --port=6379 --labels=ray.io/node-group=head --autoscaling-config=~/ray_bootstrap_config.yaml --dashboard-host=127.0.0.1",
    ]
    # The label makes each node a domain by itself; the `ray.io/gpu-domain` of an NVL72's node type overrides it.
    worker_start_ray_commands = [
      "${var.venv}/bin/ray stop",
      "${local.settings}; ulimit -n 65536; ${var.venv}/bin/ray start --address=$RAY_HEAD_IP:6379 --labels=ray.io/gpu-domain=$(hostname -s)",
    ]
  }
}
