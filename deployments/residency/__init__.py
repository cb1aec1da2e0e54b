"""What a replica tells of its own prefix cache: which prompt chunks its engine holds, from the engine's KV events."""
