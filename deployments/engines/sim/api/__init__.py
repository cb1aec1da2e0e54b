"""The APIs of the simulated engine: one file for the requests and one for the answers of each."""
