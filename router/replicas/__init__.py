"""What a gateway knows of each replica: its address, its last load report, this gateway's requests on it."""
