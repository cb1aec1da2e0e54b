"""The gateway alone, without Ray, in front of any OpenAI-compatible servers."""
