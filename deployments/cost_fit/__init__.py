"""`python -m deployments.cost_fit`: reads measured serving points, fits the cost model to them, and scores it."""
