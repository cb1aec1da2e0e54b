"""The simulated engine: vLLM's HTTP API and timing without a model."""
