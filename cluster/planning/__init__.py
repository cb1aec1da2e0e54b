"""What `cluster.planner` stands on: number formats, HF configs, layouts, memory, communication, published results."""
