"""What all connections of a gateway process share, and the answers that need no replica."""
