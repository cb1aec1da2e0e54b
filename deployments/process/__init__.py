"""What every process of ours needs: logs, its clock, an event loop in a thread."""
