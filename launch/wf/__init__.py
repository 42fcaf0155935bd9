"""The `wf` command: everything around the training binary (data, plots)."""
