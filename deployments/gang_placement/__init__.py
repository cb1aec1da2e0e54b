"""Places gangs on a live Ray cluster, holds them as placement groups, and rebuilds those that lose a node."""
