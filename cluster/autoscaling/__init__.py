"""How many replicas a model needs: pure policies `(state, metrics, now) → (state, decision)`.

`autoscaler` is ours; `serve_default` is Ray Serve's own and `fixed` a fleet that never changes, to compare with.
"""
