"""Write, verify, read and prune checkpoints; everything public is in `lstmcli.checkpoint.store`."""
