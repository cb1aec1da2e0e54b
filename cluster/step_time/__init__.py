"""Seconds that a replica's engine takes: a roofline of named physical terms, fitted to measurements."""
