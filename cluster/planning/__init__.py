"""From a model's shape, the hardware and an SLO to tensor, pipeline, expert and data parallelism, and why not."""
