"""`POST /v1/messages`: Anthropic's API, answered by a chat."""
