"""The sections of a model in a cluster file."""
