"""What bodies and answers of each API mean."""
