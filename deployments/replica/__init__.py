"""One replica: its engine, its HTTP server and the guard in front of the engine."""
