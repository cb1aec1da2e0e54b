"""Finds plain servers' rates by a few short requests of the gateway's own, before users' requests come."""
