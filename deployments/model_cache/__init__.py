"""Downloads models to machines before replicas start there, so that a start is load and compile alone."""
