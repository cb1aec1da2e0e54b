"""What an engine's KV cache holds, told to gateways as prompt chunks."""
