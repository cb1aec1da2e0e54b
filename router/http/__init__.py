"""The data plane: takes HTTP/1.1 requests from apps, sends them to replicas and copies the answers' bytes back."""
