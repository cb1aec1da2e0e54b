"""Prompts without a tokenizer: canonical bytes, cut into chunks and hashed to a chain."""
