"""One client's connection: its requests in their order, their bodies decoded, and its time limits."""
