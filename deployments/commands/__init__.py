"""The subcommands of `rackserve`, one file each; `deployments.commands.cli` has their options and help."""
