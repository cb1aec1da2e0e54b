"""Subcommands that change what runs: clusters, replicas and nodes, and the built-in models on this machine."""
