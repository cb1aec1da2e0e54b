"""Data-parallel ranks of one vLLM: which one a request is for, what is on each, and where they meet."""
