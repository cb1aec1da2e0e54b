"""Values that are learned from what was observed: means and rates that forget, and fits by least squares."""
