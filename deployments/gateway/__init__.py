"""Gateway processes, as a Serve deployment."""
