"""Bytes: sockets, heads, chunks, connections to replicas."""
