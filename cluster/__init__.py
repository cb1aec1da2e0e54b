"""What should run: the cluster file, its plan and its placement. Pure: no Ray, no vLLM, no clock, no I/O."""
