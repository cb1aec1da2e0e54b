"""The counts of a gateway process, and the collectors that export them at /metrics."""
