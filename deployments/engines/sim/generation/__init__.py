"""The simulation itself: prompts, answers, the prefix cache and continuous batching."""
