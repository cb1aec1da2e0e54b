"""What one replica costs: memory, the time of a step, and what it serves, by layout and GPU."""
