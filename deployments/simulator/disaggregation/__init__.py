"""Prefill and decode on different replicas, in virtual time: engines by the cost model, and their fleet."""
