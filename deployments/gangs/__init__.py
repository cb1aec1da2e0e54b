"""Replicas of several GPUs on a living cluster: who gets which, and what a replica does about it."""
