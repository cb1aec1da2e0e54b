"""A prompt without a tokenizer: canonical bytes, cut and hashed to a chain of chunks."""
