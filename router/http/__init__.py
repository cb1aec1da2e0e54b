"""The data plane: HTTP/1.1 in from apps, HTTP/1.1 out to replicas, bytes copied through."""
