"""Gangs on a live Ray cluster: placed, held as placement groups, rebuilt when they lose a node."""
