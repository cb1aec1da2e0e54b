"""Joins a Ray cluster, or says within seconds why that is not possible."""
