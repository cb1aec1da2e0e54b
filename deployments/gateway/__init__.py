"""Gateway processes: as a Serve deployment, or alone in front of plain servers."""
