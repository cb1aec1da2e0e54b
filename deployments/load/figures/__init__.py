"""What came of a run: figures, files, comparisons, energy."""
