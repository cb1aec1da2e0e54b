"""Subcommands that need files alone, no cluster: they write, check, plan, place and replay."""
