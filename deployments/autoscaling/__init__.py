"""The autoscaler's shell: gateways push loads, one actor decides, Ray Serve is given the target."""
