"""Routing policies: which replica takes a request, by filter → score → pick."""
