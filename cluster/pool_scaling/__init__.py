"""Scales each pool of a model by itself: divides what gateways tell of the model among the pools."""
