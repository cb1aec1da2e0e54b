"""Reports to gateways which prompt chunks an engine's KV cache holds."""
