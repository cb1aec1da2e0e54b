"""What a command asks: gateways by their URLs, or a Ray cluster and its applications."""
