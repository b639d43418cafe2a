"""Write, verify, read and prune checkpoints; everything public is in `lstmcli.run.checkpoint.store`."""
