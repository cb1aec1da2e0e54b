"""Options and help of subcommands, by what they are for; their work is in `deployments.commands`."""
