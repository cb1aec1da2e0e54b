"""`rackserve top`: the cluster on one live screen."""
