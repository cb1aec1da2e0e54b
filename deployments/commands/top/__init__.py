"""`rackserve top`: shows the cluster on one live screen."""
