"""Limits of tenants: rates and requests at once, and the part of them that one gateway may use."""
