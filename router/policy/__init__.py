"""Routing policies: filter, score, pick. See `interface` for the contract and `registry` for the names."""
