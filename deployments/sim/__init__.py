"""A discrete-event simulator: recorded traffic in virtual time, decided by the live policies."""
