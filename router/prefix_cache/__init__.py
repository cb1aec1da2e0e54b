"""Which replica holds which prompt prefix: the index, and the two sources that fill it."""
