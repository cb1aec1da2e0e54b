"""KV cache beyond GPU memory: what its tiers take of a machine, what they hold, and how quickly it comes back."""
