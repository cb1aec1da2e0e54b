"""Which replica takes a request: filter, score, pick."""
