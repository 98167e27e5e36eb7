"""What people see in a notebook: one widget a file, over the analysis modules."""
