"""Recorded traces and synthetic loads through the live dispatcher, in virtual time."""
