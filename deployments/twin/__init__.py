"""A digital twin of a cluster file: the live dispatcher, autoscaler and placer in virtual time, on costed engines."""
