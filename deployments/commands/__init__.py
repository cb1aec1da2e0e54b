"""What the subcommands of `rackserve` do, one file each; `deployments.cli` has their options and help."""
