"""A client's request as bytes: its head, its target and its body, within limits."""
