"""What one gateway expects of each replica of a model: its queue, its rates, its time to first token."""
