"""The subcommands of `rackserve`, one file each, by what they are for; `deployments.cli` has their options and help."""
