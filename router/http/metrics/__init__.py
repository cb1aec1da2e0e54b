"""What a gateway counts, and how /metrics tells it."""
