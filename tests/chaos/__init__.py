"""Faults of every kind under traffic whose history is checked, request by request."""
