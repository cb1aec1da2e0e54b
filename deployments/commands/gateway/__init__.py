"""The subcommand `gateway`: the options of a gateway alone, without Ray."""
