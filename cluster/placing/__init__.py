"""What `cluster.placement` stands on and says: gangs, the files that name them, reasons and reports."""
