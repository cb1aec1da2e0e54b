"""The input of an autoscaling policy: the figures of gateways and replicas, summed up for each model."""
