"""Hours in minutes: one gateway process under everything that clients do, whose memory must not grow."""
