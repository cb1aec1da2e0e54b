"""Inference engines a replica can run: vLLM, and the simulated engine with the same surface."""
