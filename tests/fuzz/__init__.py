"""Fuzzing of what strangers and engines send: parsers that must never fail, and must mean what engines mean."""
