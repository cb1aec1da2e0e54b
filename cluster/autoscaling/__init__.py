"""Decides how many replicas a model needs, by pure policies `(state, metrics, now) → (state, decision)`.

`autoscaler` is RackServe's policy. `serve_default` (Ray Serve's own) and `fixed` (a constant number) serve for
comparison.
"""
