"""The processes that vLLM starts for one replica: they have time to start, and end with it."""
