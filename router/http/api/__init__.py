"""What request bodies and answers of each API mean."""
