"""Training: a plain loop for one process, and what puts it on a cluster."""
