"""Connections to replicas: requests sent, answers taken as they come."""
