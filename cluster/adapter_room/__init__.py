"""What LoRA adapters take of a replica: memory of their slots, and time of each step."""
