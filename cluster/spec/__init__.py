"""The cluster file and the files beside it: what each key means, and checks that report every mistake with its line."""
