"""Which of vLLM's parsers of tool calls and of reasoning a model needs."""
