"""How it is sent and seen: connections, streamed answers, the run itself, and what the client did to it."""
