"""Parts of vLLM that its CPU build lacks or has wrong."""
