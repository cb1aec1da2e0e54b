"""Prompts from and to other simulated engines: what vLLM's NIXL connector does with KV blocks."""
