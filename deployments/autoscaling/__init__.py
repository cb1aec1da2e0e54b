"""Runs the autoscaler on Ray: gateways and replicas push figures, one actor decides, Ray Serve reads the targets."""
