"""Load on a live OpenAI-compatible endpoint, and what came of it: `rackserve bench`."""
