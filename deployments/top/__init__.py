"""`rackserve top`: readings of the gateways' metrics, what they come to, and the screen."""
