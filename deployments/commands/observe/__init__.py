"""Subcommands that show what runs: state, load, logs, why a request went where it went, and what a model answers."""
