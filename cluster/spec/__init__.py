"""The cluster file and the files beside it: what each key means, and every mistake with its line."""
