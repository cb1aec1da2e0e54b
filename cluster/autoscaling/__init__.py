"""Decides how many replicas a model needs, by pure policies `(state, metrics, now) → (state, decision)`.

`autoscaler` is RackServe's policy. The policies it is compared with, `serve_default` and `fixed_fleet`, are in
`deployments/simulator`.
"""
