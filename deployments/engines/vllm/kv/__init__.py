"""KV blocks in vLLM's terms: what is cached, passed on to other replicas, and kept beyond the GPUs."""
