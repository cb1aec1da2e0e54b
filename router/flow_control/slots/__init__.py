"""Which replicas have room for one more request: the free places of each, and the prefill that may be ahead of it."""
