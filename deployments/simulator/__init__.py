"""Simulates the live dispatcher on recorded traces and synthetic loads, in virtual time."""
