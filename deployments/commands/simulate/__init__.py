"""`rackserve simulate`: a digital twin of a cluster file, its tables and its report."""
