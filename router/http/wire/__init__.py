"""HTTP/1.1 as bytes: listening sockets, heads, chunked bodies, connections to replicas."""
