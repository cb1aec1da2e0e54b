"""Answers whose form a request gives: values of JSON schemas, texts of patterns, tool calls."""
