"""Renders `ray up` files from the cluster file, for machines that run already and for clouds."""
