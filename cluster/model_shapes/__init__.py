"""Models as the planner sees them: parameters, memory and operations, from a published `config.json`."""
