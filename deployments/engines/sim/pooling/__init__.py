"""The endpoints of models that answer without generating: vectors, scores, classes."""
