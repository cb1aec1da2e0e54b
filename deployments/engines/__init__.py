"""Inference engines that a replica can run: vLLM, and a simulated engine with the same API."""
