"""`ray up` files for machines at hand and for clouds, rendered from the cluster file."""
