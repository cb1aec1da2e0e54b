"""A package, so that what a folder's tests share ends with the folder and not with the session."""
