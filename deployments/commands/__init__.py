"""What the subcommands of `rackserve` do, one file each; `deployments.commands.cli` has their options and help."""
