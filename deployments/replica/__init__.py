"""One replica: an engine, its HTTP server and the guard in front of it."""
