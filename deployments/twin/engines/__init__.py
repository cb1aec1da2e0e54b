"""What the replicas of a simulated cluster are: step times and memory by the planner, or by a simulated engine."""
