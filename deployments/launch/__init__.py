"""Turns a cluster file into a running application: `serve` on one Ray cluster, `up` on machines over SSH."""
