"""What each RackServe process needs: logs, a clock, an event loop in a thread, HTTP to the cluster's own addresses."""
