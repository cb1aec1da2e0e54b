"""What answers mean: their tokens, their text, the events of a stream and how it goes on elsewhere."""
