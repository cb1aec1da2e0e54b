"""The streams of a replica: how fast their tokens come, how far that scatters, and what time they can spare."""
