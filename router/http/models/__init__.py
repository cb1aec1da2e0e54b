"""The served models: each with its dispatcher, and how the event loop runs it."""
