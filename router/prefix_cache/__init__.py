"""Which replica holds which prompt prefix: the index, and the sources that fill it."""
