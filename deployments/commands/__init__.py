"""The subcommands of `rackserve`, one file each; `deployments.cli.main` has their options and help."""
