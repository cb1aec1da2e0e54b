"""What one gateway expects of each replica of a model: its waiting work, its rates, its time to first token."""
