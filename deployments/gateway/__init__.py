"""Gateway processes: as a Serve deployment, or standalone in front of plain servers."""
