"""What is checked of a user's cell: one step before a run, everything by `lstm cells check`."""
