"""The simulated engine: vLLM's HTTP surface and timing without weights."""
