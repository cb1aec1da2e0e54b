"""`rackserve bench`: a load on a live endpoint, live progress, tables, plots, and runs beside one another."""
