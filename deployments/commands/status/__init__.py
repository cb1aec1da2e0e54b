"""`rackserve status`: gateways, replicas, what waits, what each model has and does, in one screen."""
