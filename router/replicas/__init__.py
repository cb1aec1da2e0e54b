"""What a gateway knows of each replica."""
